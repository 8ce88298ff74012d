"""The correction of the mismatch between learner and engine: the factor on each token's loss."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from configs.presets import CORRECTIONS, PRESETS, Correction, Objective
from learner.loss.correction import Mismatch, factor
from learner.loss.objective import LossInputs
from tests.toys.objective import BATCH, GOLDEN, MASK, outcome, per_token, same, spoilt

LENGTHS = MASK.sum(1)
K = {name: torch.tensor(values, dtype=torch.float64) for name, values in GOLDEN["mismatch"].items()}
TOKEN = torch.where(MASK, K["K_token"], 1.0)
SEQUENCE = K["K_seq_product"][:, None].expand(MASK.shape)
GEOMETRIC = K["K_seq_geomean"][:, None].expand(MASK.shape)
ADVANTAGES = torch.tensor(GOLDEN["advantages"]["mean_only"], dtype=torch.float64)[:, None].expand(MASK.shape)


def golden_mismatch() -> Mismatch:
    log_mismatch, fallen = BATCH["logp_old"] - BATCH["logp_rollout"], BATCH["logp_rollout"] - BATCH["logp_new"]
    return Mismatch(log_mismatch=log_mismatch.where(MASK, 0.0), fallen=fallen.where(MASK, 0.0), advantages=ADVANTAGES, mask=MASK)


def of(log_mismatch: list[list[float]], mask: list[list[int]] | None = None, **others: Tensor) -> Mismatch:
    values = torch.tensor(log_mismatch, dtype=torch.float64)
    shown = torch.ones_like(values, dtype=torch.bool) if mask is None else torch.tensor(mask).bool()
    return Mismatch(**{"log_mismatch": values, "fallen": 0 * values, "advantages": torch.ones_like(values), "mask": shown} | others)


def between(value: Tensor, low: float, high: float) -> Tensor:
    return (value >= low) & (value <= high)


NO = torch.zeros_like(MASK)
VETOED = (between(TOKEN, 0.0, 0.5) | between(TOKEN, 2.0, 9.0)).any(1, keepdim=True).expand(MASK.shape)
FALLEN = ((BATCH["logp_rollout"] - BATCH["logp_new"]).where(MASK, 0.0).sum(1) / LENGTHS)[:, None].expand(MASK.shape)
OPSM = (ADVANTAGES < 0) & (FALLEN > 0.1)
EXPECTED = {  # the factor before rejection, what was capped, what was masked, what was vetoed
    "none": (Correction(), torch.ones_like(TOKEN), NO, NO, NO),
    "tis": (CORRECTIONS["tis"], TOKEN.clamp(max=2), TOKEN > 2, NO, NO),
    "tis_sequence": (CORRECTIONS["tis_sequence"], SEQUENCE.clamp(max=2), SEQUENCE > 2, NO, NO),
    "mis": (CORRECTIONS["mis"], TOKEN, NO, ~between(TOKEN, 0.5, 2), NO),
    "sequence_mis": (CORRECTIONS["sequence_mis"], SEQUENCE, NO, ~between(SEQUENCE, 0.5, 2), NO),
    "icepop": (CORRECTIONS["icepop"], TOKEN, NO, ~between(TOKEN, 0.5, 5), NO),
    "geometric": (CORRECTIONS["geometric"], TOKEN.clamp(max=2), TOKEN > 2, ~between(GEOMETRIC, 0.99, 1.01), NO),
    "geometric mean as weight": (Correction(weight="geometric", cap=1.1), GEOMETRIC.clamp(max=1.1), GEOMETRIC > 1.1, NO, NO),
    "veto": (CORRECTIONS["veto"], torch.ones_like(TOKEN), NO, NO, NO),
    "veto on both sides": (Correction(veto_low=0.5, veto_high=2.0), torch.ones_like(TOKEN), NO, NO, VETOED),
    "veto before cap and mask": (
        Correction(weight="token", cap=1.05, keep="token", keep_high=1.03, veto_low=0.5, veto_high=2.0),
        TOKEN.clamp(max=1.05), TOKEN > 1.05, TOKEN > 1.03, VETOED,
    ),
    "veto before cap": (
        Correction(weight="token", cap=1.05, veto_low=0.5, veto_high=2.0), TOKEN.clamp(max=1.05), TOKEN > 1.05, NO, VETOED,
    ),
    "opsm": (replace(CORRECTIONS["opsm"], opsm=0.1), torch.ones_like(TOKEN), NO, NO, OPSM),
    "opsm with tis": (replace(CORRECTIONS["tis"], opsm=0.1), TOKEN.clamp(max=2), TOKEN > 2, NO, OPSM),
    "decoupled": (CORRECTIONS["decoupled"], TOKEN, NO, TOKEN > 5, NO),
}  # fmt: skip


def test_every_row_a_config_may_name_is_looked_at() -> None:
    assert set(CORRECTIONS) <= set(EXPECTED)
    assert all(EXPECTED[name][0] == row or name == "opsm" for name, row in CORRECTIONS.items())
    assert [name for name, row in CORRECTIONS.items() if not row.uses_engine] == ["none"]


@pytest.mark.parametrize(("weight", "golden"), [("token", TOKEN), ("sequence", SEQUENCE), ("geometric", GEOMETRIC)])
def test_the_statistics_of_k_are_the_golden_ones(weight: str, golden: Tensor) -> None:
    ours, _ = factor(Correction(weight=weight), golden_mismatch())
    torch.testing.assert_close(ours, golden, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", EXPECTED)
def test_factor_and_what_was_capped_masked_and_vetoed_follow_from_the_golden_k(name: str) -> None:
    correction, weight, capped, masked, vetoed = EXPECTED[name]
    ours, found = factor(correction, golden_mismatch())
    torch.testing.assert_close(ours, weight.masked_fill(masked | vetoed, 0.0), atol=1e-9, rtol=0)
    assert found["vetoed"].equal(vetoed)
    assert found["masked"].equal(masked & ~vetoed)
    assert found["capped"].equal(capped & ~masked & ~vetoed)


def test_the_golden_batch_tells_all_corrections_apart() -> None:
    factors = {tuple(factor(row, golden_mismatch())[0].flatten().tolist()) for name, row in CORRECTIONS.items() if name != "opsm"}
    assert len(factors) == len(CORRECTIONS) - 2  # on this batch the veto of K below 1e-4 and "none" are alike
    assert OPSM.any()
    assert VETOED.any()
    assert not VETOED.all()


@pytest.mark.parametrize("name", ["token", "sequence", "geometric"])
def test_a_factor_at_its_cap_is_exactly_the_cap_and_only_beyond_it_counts_as_capped(name: str) -> None:
    ours, found = factor(Correction(weight=name, cap=2.0), of([[math.log(2)], [math.log(2.1)], [50.0], [-50.0]]))
    assert ours[:3, 0].tolist() == [2.0, 2.0, 2.0]
    assert found["capped"][:, 0].tolist() == [False, True, True, False]


def test_bounds_belong_to_what_is_kept() -> None:
    ours, found = factor(
        Correction(keep="token", keep_low=0.5, keep_high=2.0), of([[math.log(0.5), math.log(2.0), math.log(0.49), math.log(2.01)]])
    )
    assert ours.tolist() == [[1.0, 1.0, 0.0, 0.0]]
    assert found["masked"].tolist() == [[False, False, True, True]]


@pytest.mark.parametrize(
    ("correction", "log_mismatch"),
    [(Correction(veto_low=1e-4), -10.0), (Correction(veto_high=100.0), 5.0), (Correction(veto_low=1e-4, veto_high=100.0), 5.0)],
)
def test_one_token_beyond_a_bound_drops_its_response_whole_and_no_other(correction: Correction, log_mismatch: float) -> None:
    ours, found = factor(correction, of([[0.0, log_mismatch, 0.1], [0.0, 0.0, 0.1]]))
    assert ours.tolist() == [[0.0] * 3, [1.0] * 3]
    assert found["vetoed"].tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("log_mismatch", [-30.0, 30.0, float("nan"), float("inf"), float("-inf")])
def test_a_masked_slot_never_vetoes(log_mismatch: float) -> None:
    ours, found = factor(Correction(veto_low=1e-4, veto_high=100.0), of([[0.0, log_mismatch]], mask=[[1, 0]]))
    assert ours[0, 0] == 1
    assert not found["vetoed"].any()


@pytest.mark.parametrize(("advantage", "fallen", "dropped"), [(-1.0, 0.6, True), (-1.0, 0.4, False), (1.0, 0.6, False), (0.0, 0.6, False)])
def test_opsm_drops_a_bad_response_whose_log_probs_fell_on_average(advantage: float, fallen: float, dropped: bool) -> None:
    ones = torch.ones(1, 3, dtype=torch.float64)
    change = torch.tensor([[2 * fallen, 0.0, 0.0]], dtype=torch.float64)
    ours, found = factor(CORRECTIONS["opsm"], of([[0.0] * 3], mask=[[1, 1, 0]], fallen=change, advantages=advantage * ones))
    assert ours.eq(0.0 if dropped else 1.0).all()
    assert bool(found["vetoed"].all()) is dropped


def test_length_decides_over_the_product_but_not_over_the_geometric_mean() -> None:
    mismatch = of([[0.3] * 10, [0.3] + [0.0] * 9], mask=[[1] * 10, [1] + [0] * 9])
    by_product, _ = factor(Correction(keep="sequence", keep_high=2.0), mismatch)
    by_mean, _ = factor(Correction(keep="geometric", keep_high=2.0), mismatch)
    assert by_product[:, 0].tolist() == [0.0, 1.0]
    assert by_mean[:, 0].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("name", ["token", "sequence", "geometric"])
@pytest.mark.parametrize("log_mismatch", [1e4, float("inf"), -1e4, float("-inf")])
def test_an_infinite_k_stays_finite(name: str, log_mismatch: float) -> None:
    ours, _ = factor(Correction(weight=name), of([[log_mismatch, 0.0]]))
    assert ours.isfinite().all()


@pytest.mark.parametrize("name", CORRECTIONS)
def test_the_factor_carries_no_gradient(name: str) -> None:
    mismatch = golden_mismatch()
    leaves = replace(mismatch, log_mismatch=mismatch.log_mismatch.clone().requires_grad_(), fallen=mismatch.fallen.clone().requires_grad_())
    ours, found = factor(CORRECTIONS[name], leaves)
    assert not ours.requires_grad
    assert not any(value.requires_grad for value in found.values())


@pytest.mark.parametrize("name", EXPECTED)
def test_the_loss_is_weighed_by_the_factor_and_counts_unmasked_tokens_only(name: str) -> None:
    correction, weight, capped, masked, vetoed = EXPECTED[name]
    taken = LossInputs(
        old_logprobs=BATCH["logp_old"],
        engine_logprobs=BATCH["logp_rollout"],
        advantages=ADVANTAGES,
        mask=MASK,
        token_weight=torch.ones_like(TOKEN),
    )
    objective = Objective(preset=PRESETS["dapo"])
    plain = outcome(objective, BATCH["logp_new"], taken)
    got = outcome(replace(objective, correction=correction), BATCH["logp_new"], spoilt(taken, float("nan")))
    torch.testing.assert_close(got.gradient, plain.gradient * weight.masked_fill(masked | vetoed, 0.0), atol=1e-9, rtol=0)
    counts = {key: got.sums[key].item() for key in ("capped", "masked", "vetoed") if key in got.sums}
    expected = {"vetoed": vetoed, "masked": masked & ~vetoed, "capped": capped & ~masked & ~vetoed}
    assert counts == ({} if name == "none" else {key: (MASK & value).sum().item() for key, value in expected.items()})


def test_opsm_asks_for_the_fall_since_the_token_was_sampled() -> None:
    taken = LossInputs(
        old_logprobs=BATCH["logp_new"],
        engine_logprobs=BATCH["logp_old"],
        advantages=ADVANTAGES,
        mask=MASK,
        token_weight=torch.ones_like(TOKEN),
    )
    got = outcome(Objective(preset=PRESETS["grpo"], correction=Correction(opsm=0.1)), BATCH["logp_new"], taken)
    mean = (BATCH["logp_old"] - BATCH["logp_new"]).where(MASK, 0.0).sum(1) / LENGTHS
    dropped = (ADVANTAGES[:, 0] < 0) & (mean > 0.1)
    assert dropped.any()
    same(got.gradient, torch.where(MASK & ~dropped[:, None], -per_token(taken), 0.0))
