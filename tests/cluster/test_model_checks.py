"""What is asked of a model's experts, held against the model: a config that cannot be, and its neighbour that can."""

from typing import Any

import pytest

from cluster.commands.checks.model import BY_ITS_ROUTER, PLAIN, asked_of_experts, experts_of_the_model, followed
from configs.families import families_that
from tests.configs.test_configs import config_with

DENSE = {"model_type": "qwen3"}
SPARSE = {"model_type": "qwen3_moe", "num_experts": 128}
SPREAD_2, SPREAD_8 = (f"learner.expert_parallel={n} learner.ranks={n} learner.deepspeed.zero_optimization.stage=1" for n in (2, 8))
ASKED = {
    "learner.routing": ("learner.routing=replay_learner", '"replay_learner"'),
    "rollout.capture_routing": ("rollout.capture_routing=true", "true"),
    "learner.expert_parallel": (SPREAD_2, "2"),
    "learner.aux_loss": ("learner.aux_loss=0.001", "0.001"),
    "learner.router": ("learner.router=frozen", '"frozen"'),
    "objective.router_shift": ("objective.router_shift=0.8", "0.8"),
    "rollout.vllm.enable_expert_parallel": ("rollout.vllm.enable_expert_parallel=true", "true"),
}


def problems(model: dict[str, Any], overrides: str) -> list[str]:
    return list(experts_of_the_model(config_with(*overrides.split()), model))


@pytest.mark.parametrize("key", PLAIN)
def test_a_dense_model_is_asked_for_nothing_of_experts(key: str) -> None:
    overrides, given = ASKED[key]
    (line,) = problems(DENSE, overrides)
    assert line == (
        f"{key}: got {given}, but model.path no/such/model (qwen3) is a dense model without experts: "
        f"use {PLAIN[key]}, or give a mixture of experts as model.path"
    )
    assert problems(SPARSE, overrides) == []
    assert problems(DENSE, "rollout.vllm.enable_expert_parallel=false") == []


def test_replay_of_the_engines_experts_is_refused_for_a_dense_model_by_both_its_settings() -> None:
    lines = problems(DENSE, "learner.routing=replay_rollout rollout.capture_routing=true")
    assert [line.split(":")[0] for line in lines] == ["learner.routing", "rollout.capture_routing"]
    assert asked_of_experts(config_with()) == {}


@pytest.mark.parametrize("key", BY_ITS_ROUTER)
def test_a_router_that_the_learner_does_not_know_is_refused_by_its_family(key: str) -> None:
    overrides, given = ASKED[key]
    (line,) = problems({"model_type": "glm4_moe", "n_routed_experts": 8}, overrides)
    assert line == (
        f'{key}: got {given}, but model.path no/such/model is of model_type "glm4_moe", needed "qwen3_moe", "qwen2_moe", "olmoe", '
        f'"mixtral", whose routers the learner knows: use {PLAIN[key]}, or another model.path'
    )
    for family in families_that(followed):
        assert problems({"model_type": family, "num_experts": 8}, overrides) == []


def test_an_engine_spreads_experts_of_every_mixture() -> None:
    overrides = "rollout.vllm={enable_expert_parallel=true,tensor_parallel_size=2}"
    for family in families_that(lambda row: not row.dense):
        assert problems({"model_type": family, "num_local_experts": 8}, overrides) == []


def test_noise_in_the_learners_routers_is_refused() -> None:
    (line,) = problems({"model_type": "mixtral", "num_local_experts": 8, "router_jitter_noise": 0.1}, "")
    assert "has router_jitter_noise = 0.1 in its config.json, needed 0" in line
    assert problems({"model_type": "mixtral", "num_local_experts": 8, "router_jitter_noise": 0.0}, "") == []


def test_experts_of_a_family_that_cannot_be_put_together_again_are_not_spread() -> None:
    (line,) = problems({"model_type": "olmoe", "num_experts": 64}, SPREAD_2)
    assert line.startswith('learner.expert_parallel: got 2, but model.path no/such/model is of model_type "olmoe", needed "qwen3_moe", ')


def test_experts_are_spread_evenly_over_ranks() -> None:
    (line,) = problems(SPARSE | {"num_experts": 60}, SPREAD_8)
    assert line.startswith("learner.expert_parallel: got 8, needed a divisor of the 60 experts of model.path no/such/model")
    assert line.endswith("as each GPU holds as many: use 6 or 10")
    assert problems(SPARSE, SPREAD_8) == []


def test_experts_are_spread_evenly_over_an_engines_gpus() -> None:
    size = "rollout.vllm.tensor_parallel_size=8"
    (line,) = problems(SPARSE | {"num_experts": 60}, f"{size} rollout.vllm.enable_expert_parallel=true")
    assert line.startswith(
        "rollout.vllm.tensor_parallel_size: got 8 with rollout.vllm.enable_expert_parallel = true, needed a divisor of the 60 experts"
    )
    assert problems(SPARSE | {"num_experts": 60}, size) == []
    assert problems(SPARSE, f"{size} rollout.vllm.enable_expert_parallel=true") == []
