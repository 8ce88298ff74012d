"""Experts spread over two ranks by DeepSpeed's AutoEP change nothing: answers, gradients, weights, files. And what cannot be spread."""

from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs.families import FAMILIES
from configs.loader import load
from learner.model.policy import load_policy
from learner.model.precision import apply_precision
from learner.model.zero_config import expert_settings
from learner.weights.whole_experts import engine_name, published
from tests.configs.test_configs import config_with, sole_refusal
from tests.conftest import RankResults
from tests.learner.test_rank_gradients import in_one_batch
from tests.toys.expert_worker import CLIP, LABELS, elsewhere_routed, one_group
from tests.toys.ranks import recorded_groups

ranked = pytest.mark.end_to_end
every_stage = pytest.mark.parametrize("stage", ["zero1", "zero2", "zero3"])
Found = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(ranks: RankResults) -> Found:
    """What two ranks with half of the experts each did, by ZeRO stage."""
    return {stage: result for (stage, _), result in ranks.of("experts").items()}


@ranked
@every_stage
def test_the_source_yields_the_checkpoint_byte_for_byte_in_its_own_order(ranks: RankResults, found: Found, stage: str) -> None:
    policy = load_policy(load(ranks.folder / "config.toml"))
    whole = {name.removeprefix("language_model."): weight for name, weight in policy.named_parameters()}
    assert list(found[stage]["before"]) == list(whole) == [name for name, _, _ in found[stage]["manifest"]]
    assert [shape for _, _, shape in found[stage]["manifest"]] == [tuple(weight.shape) for weight in whole.values()]
    assert all(torch.equal(found[stage]["before"][name], weight) for name, weight in whole.items())


@ranked
@every_stage
def test_answers_are_those_of_one_process_live_and_replayed(ranks: RankResults, found: Found, stage: str) -> None:
    config, batch = load(ranks.folder / "config.toml"), one_group(recorded_groups())
    policy = load_policy(config)
    apply_precision(policy, config.learner)
    said = found[stage]["said"]
    with torch.no_grad():
        live, rerouted = policy(batch)[0], policy(batch, elsewhere_routed(batch))[0]
    assert (live - rerouted)[batch.mask].abs().max() > 1e-3, "other experts must say something else"
    assert (said["live"] - live)[batch.mask].abs().max() <= 1e-6
    assert (said["rerouted"] - rerouted)[batch.mask].abs().max() <= 1e-6
    assert torch.equal(said["reference"], said["live"])


@ranked
@every_stage
@pytest.mark.parametrize("label", LABELS)
def test_norm_and_clipped_gradient_are_those_of_one_process(ranks: RankResults, found: Found, stage: str, label: str) -> None:
    _, expected = in_one_batch(ranks.folder, label, elsewhere_routed)
    norm = float(torch.nn.utils.get_total_norm(expected))
    assert norm > 2 * CLIP, "nothing would be clipped"
    assert found[stage]["norms"][label] == pytest.approx(norm, rel=1e-6)
    names = list(found[stage]["before"])
    worst = {
        name: float((ours * (norm + 1e-6) / CLIP - theirs).abs().max())
        for name, ours, theirs in zip(names, found[stage]["gradients"][label], expected, strict=True)
    }
    assert {name: off for name, off in worst.items() if off > 1e-6} == {}
    silent = [name for name, theirs in zip(names, expected, strict=True) if not theirs.any()]
    assert silent == [], "a gradient of nothing would agree with anything"


@ranked
@every_stage
def test_a_step_leads_where_one_rank_is_led(ranks: RankResults, found: Found, stage: str) -> None:
    alone = ranks.of("learn")["zero0", 1]
    assert found[stage]["stats"]["loss"] == pytest.approx(alone["stats"]["loss"], abs=1e-5)
    assert found[stage]["stats"]["grad_norm"] == pytest.approx(alone["stats"]["grad_norm"], rel=1e-4)
    for name, weight in alone["weights"].items():
        torch.testing.assert_close(found[stage]["weights"][name], weight, atol=1e-5, rtol=0, msg=lambda text, at=name: f"{at}: {text}")


@ranked
@every_stage
def test_a_loaded_learner_goes_on_as_the_one_that_was_saved(found: Found, stage: str) -> None:
    proofs, (gone_on, resumed) = found[stage]["proofs"], found[stage]["next"]
    assert proofs["loaded"] == proofs["learned"]
    assert proofs["resumed"] == proofs["gone on"] != proofs["learned"]
    timeless = [name for name in gone_on if not name.startswith("seconds")]
    assert {name: gone_on[name] for name in timeless} == {name: resumed[name] for name in timeless}


@ranked
@every_stage
def test_a_gradient_that_is_not_finite_on_one_rank_is_dropped_on_all(found: Found, stage: str) -> None:
    assert found[stage]["poisoned"]["updates_skipped"] == 2
    assert found[stage]["proofs"]["poisoned"] == found[stage]["proofs"]["gone on"]


@ranked
@every_stage
def test_the_exported_model_says_what_the_learner_says(ranks: RankResults, found: Found, stage: str) -> None:
    folder, batch = ranks.folder / f"experts-{stage}-exported", one_group(recorded_groups())
    per_expert = [name for file in folder.glob("*.safetensors") for name in load_file(file) if ".experts.3.gate_proj." in name]
    assert len(per_expert) == 2
    with torch.no_grad():
        said = load_policy(load(ranks.folder / "config.toml"), str(folder))(batch)[0]
    assert (said - found[stage]["last"])[batch.mask].abs().max() <= 1e-6
    assert (said - found[stage]["said"]["live"])[batch.mask].abs().max() > 1e-4, "what was exported must have learned"


@ranked
@pytest.mark.parametrize("name", ["qwen2", "mixtral"])
def test_spread_experts_of_another_family_keep_the_names_of_its_checkpoints(ranks: RankResults, name: str) -> None:
    found = ranks.of("family")[name, 2]
    policy, batch = load_policy(load(ranks.folder / "config.toml"), str(ranks.folder / name)), one_group(recorded_groups())
    family = FAMILIES[policy.config.model_type]
    whole = {engine_name(name.removeprefix("language_model."), family): weight for name, weight in policy.named_parameters()}
    assert list(found["weights"]) == list(whole)
    assert any((".shared_expert." if name == "qwen2" else ".block_sparse_moe.experts.w13") in one for one in whole)
    assert all(torch.equal(found["weights"][one], weight) for one, weight in whole.items())
    with torch.no_grad():
        assert (found["said"] - policy(batch)[0])[batch.mask].abs().max() <= 1e-6


def test_a_tensor_that_nothing_is_known_of_is_named() -> None:
    with pytest.raises(KeyError, match=r"layers\.0\.mlp\.other\.weight is in the model"):
        published({"layers.0.mlp.other.weight": (1,)}, {}, {}, None, FAMILIES["qwen3_moe"])


def test_a_model_that_cannot_be_spread_is_refused_with_those_that_can() -> None:
    config = config_with("learner.expert_parallel=2", "learner.ranks=2", "learner.deepspeed.zero_optimization.stage=3")
    with pytest.raises(
        ValueError, match=r'learner.expert_parallel = 2, but model.path is of type "qwen3"; .* of qwen3_moe, qwen2_moe, mixtral: use'
    ):
        expert_settings(config, "qwen3", torch.device("cpu"))
    assert expert_settings(config_with(), "qwen3", torch.device("cpu")) == {}


ZERO = "learner.deepspeed.zero_optimization"
SPREAD = ("learner.expert_parallel=2", "learner.ranks=4")


@pytest.mark.parametrize(
    ("overrides", "keys", "said"),
    [
        ([*SPREAD], ("learner.expert_parallel", f"{ZERO}.stage"), "use stage = 1, 2 or 3"),
        (
            ["learner.expert_parallel=3", "learner.ranks=4", f"{ZERO}.stage=2"],
            ("learner.expert_parallel", "learner.ranks"),
            "use 1 or 2 or 4",
        ),
        (
            [*SPREAD, f"{ZERO}={{stage=3, zero_hpz_partition_size=2}}"],
            (f"{ZERO}.zero_hpz_partition_size", "learner.expert_parallel"),
            "hpZ",
        ),
        (
            [*SPREAD, f"{ZERO}={{stage=3, zero_quantized_gradients=true}}"],
            (f"{ZERO}.zero_quantized_gradients", "learner.expert_parallel"),
            "quantized gradients",
        ),
        ([*SPREAD, f"{ZERO}={{stage=1, reduce_scatter=false}}"], (f"{ZERO}.reduce_scatter", "learner.expert_parallel"), "reduce-scatter"),
        (
            [*SPREAD, f"{ZERO}={{stage=2, contiguous_gradients=false}}"],
            (f"{ZERO}.contiguous_gradients", "learner.expert_parallel"),
            "contiguous gradients",
        ),
    ],
)
def test_what_spread_experts_exclude_is_refused_naming_both_keys(overrides: list[str], keys: tuple[str, str], said: str) -> None:
    line = sole_refusal(*overrides)
    assert f": {keys[0]}: " in line
    assert keys[1] in line
    assert said in line


@pytest.mark.parametrize(
    "zero",
    [
        "{stage=1}",
        "{stage=2, offload_optimizer={device='cpu'}}",
        "{stage=3, reduce_scatter=false}",
        "{stage=3, zero_hpz_partition_size=1, mics_shard_size=-1}",
    ],
)
def test_what_spread_experts_allow(zero: str) -> None:
    config_with(*SPREAD, f"{ZERO}={zero}")


def test_one_rank_of_experts_asks_for_nothing() -> None:
    config_with("learner.expert_parallel=1", f"{ZERO}={{stage=3, zero_hpz_partition_size=2}}")
