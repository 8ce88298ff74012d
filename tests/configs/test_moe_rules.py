"""Every rule for mixtures of experts: a config that breaks it, its neighbour that does not, and what the plan says of those that hold."""

import json
from pathlib import Path

import pytest

from configs.arithmetic import plan
from configs.rules.moe import MOE_RULES
from configs.schema import ALL_RULES
from tests.configs.test_configs import config_with, refusal, sole_refusal
from tests.toys.models import model_named

R3 = "learner.routing=replay_rollout rollout.capture_routing=true"
# rule, overrides that break it, the key to change first, what is said of what was given and what to do, overrides that keep it
BROKEN = [
    ("replay_needs_recorded_experts", "learner.routing=replay_rollout", "learner.routing",
     'got "replay_rollout" with rollout.capture_routing = false, so no engine records the experts', R3),
    ("replay_needs_recorded_experts", "learner.routing=replay_rollout learner.missing_routing=mask", "learner.routing",
     "set rollout.capture_routing = true", "learner.routing=replay_learner"),
    ("auxiliary_loss_trains_the_router", "learner.aux_loss=0.001 learner.router=frozen", "learner.aux_loss",
     'got 0.001 with learner.router = "frozen": only a trained router can balance its load: set aux_loss = 0', "learner.aux_loss=0.001"),
    ("auxiliary_loss_trains_the_router", "learner.aux_loss=0.001 learner.router=frozen", "learner.aux_loss",
     'or learner.router = "trained"', "learner.router=frozen"),
    ("router_shift_suits_the_surrogate", "objective.preset=gspo objective.clip_high=4e-4 objective.router_shift=0.8",
     "objective.router_shift", "the bounds of a sequence ratio are smaller than the shift of routers",
     "objective.preset=gmpo objective.router_shift=0.8"),
    ("router_shift_suits_the_surrogate", "objective.preset=dppo_tv objective.router_shift=0.8", "objective.router_shift",
     'the surrogate "dppo_tv" pulls every ratio to 1', "objective.preset=dppo_tv"),
    ("router_shift_suits_the_surrogate", "objective.preset=dppo_kl objective.router_shift=0.8", "objective.router_shift",
     'the surrogate "dppo_kl" limits probabilities and not ratios', "objective.preset=dppo_kl"),
    ("past_weights_can_be_swapped_in",
     "mismatch.share=0.1 run.max_staleness=1 learner.deepspeed.zero_optimization={stage=3,zero_hpz_partition_size=2}", "mismatch.share",
     "got 0.1 with run.max_staleness = 1 and zero_hpz_partition_size set", "mismatch.share=0.1 run.max_staleness=1"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "overrides", "key", "said", "allowed"), BROKEN, ids=[f"{b[0]}-{b[1]}" for b in BROKEN])
def test_a_broken_rule_is_refused_with_what_was_given_and_what_to_do(rule: str, overrides: str, key: str, said: str, allowed: str) -> None:
    line = sole_refusal(*overrides.split())
    assert f": {key}: " in line
    assert said in line
    broken = next(r for r in ALL_RULES if r.__name__ == rule)
    assert list(broken(config_with(*allowed.split()))) == []


def test_a_surrogate_without_a_ratio_has_nothing_to_shift() -> None:
    said = refusal("objective.preset=rloo", "objective.router_shift=0.8")
    assert [line for line in said if 'router_shift: got 0.8 with objective.preset = "rloo": the surrogate "reinforce" has no ratio' in line]


@pytest.mark.parametrize("rule", [rule.__name__ for rule in MOE_RULES])
def test_every_rule_is_broken_here(rule: str) -> None:
    assert rule in {broken for broken, *_ in BROKEN}


@pytest.mark.parametrize("size", ["pipeline_parallel_size", "prefill_context_parallel_size", "decode_context_parallel_size"])
def test_replay_is_named_where_it_is_why_an_engine_may_not_be_a_pipeline(size: str) -> None:
    table = f"rollout.vllm.{size}=2"
    line = sole_refusal(*R3.split(), table)
    assert f'{size}: got 2 with learner.routing = "replay_rollout", which replays the experts that rollout.capture_routing records' in line
    assert line.endswith('or learner.routing = "replay_learner" and rollout.capture_routing = false')
    line = sole_refusal("rollout.capture_routing=true", table)
    assert "got 2 with rollout.capture_routing = true; vLLM returns routed experts only without" in line
    assert "learner.routing" not in line.split("got 2")[1]
    assert len(refusal("learner.routing=replay_rollout", table)) == 2, "whoever sets capture_routing next must not be refused again"
    config_with(table)
    config_with("learner.routing=replay_learner", table)


def lines_with(tmp_path: Path, *overrides: str) -> list[str]:
    (tmp_path / "config.json").write_text(json.dumps(model_named("Qwen3-30B-A3B") | {"num_experts_per_tok": 8}))
    return plan(config_with(f"model.path={tmp_path}", *overrides))


def test_the_plan_says_who_replays_what(tmp_path: Path) -> None:
    assert not [line for line in lines_with(tmp_path) if "rout" in line.split(":")[0] or "experts" in line]
    (line,) = [line for line in lines_with(tmp_path, *R3.split()) if line.startswith("routing: ")]
    assert line.endswith("every pass of the policy replays the engine's experts (R3); a response without them is routed live")
    (line,) = [line for line in lines_with(tmp_path, *R3.split(), "learner.missing_routing=mask") if line.startswith("routing: ")]
    assert line.endswith("is left out of the loss")
    (line,) = [line for line in lines_with(tmp_path, "learner.routing=replay_learner") if line.startswith("routing: ")]
    assert line == "routing: every update but the first replays the experts that the learner took at the step's start (R2)"


def test_the_plan_says_what_one_update_a_step_makes_useless(tmp_path: Path) -> None:
    useless = [line for line in lines_with(tmp_path, "learner.routing=replay_learner", "learner.updates_per_step=1") if "replay" in line]
    assert useless == ["one update a step: learner.routing replay_learner does nothing, as the experts of the step's start are its own"]
    (line,) = [line for line in lines_with(tmp_path, "objective.router_shift=0.8", "learner.updates_per_step=1") if "router_shift" in line]
    assert line.startswith("one update a step: objective.router_shift does nothing")
    assert not [line for line in lines_with(tmp_path, "objective.router_shift=0.8") if "router_shift" in line]


def test_the_plan_says_what_recorded_experts_weigh_and_where_experts_lie(tmp_path: Path) -> None:
    spread = ("learner.ranks=8", "learner.expert_parallel=8", "learner.deepspeed.zero_optimization.stage=2")
    lines = lines_with(tmp_path, "rollout.capture_routing=true", *spread, "data.max_prompt_tokens=2000")
    assert "recorded experts: 48 layers × 8 × 1 B = 384 B a token, up to 0.771 MB a response with its prompt" in lines
    assert "128 experts a layer; learner.expert_parallel 8: 16 on each of 8 ranks" in lines
    engine = lines_with(tmp_path, "rollout.vllm={enable_expert_parallel=true, tensor_parallel_size=4}")
    assert "128 experts a layer; expert parallelism of an engine 4: 32 on each of 4 GPUs" in engine
