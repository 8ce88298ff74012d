import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from configs import presets
from configs.presets import PRESETS, Preset
from learner.objective import MAXIMA, RATIOS, SURROGATES, policy_loss
from learner.reductions import REDUCTIONS

GOLDEN = json.loads((Path(__file__).parent / "golden" / "objectives.json").read_text())
BATCH = {k: torch.tensor(v, dtype=torch.float64) for k, v in GOLDEN["batch"].items()}
MASK = BATCH["mask"].bool()
ADVANTAGES = torch.tensor(GOLDEN["advantages"]["standardised"], dtype=torch.float64)
GARBAGE = [3.3, float("nan"), float("inf"), float("-inf")]
every_preset = pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)


def weights(mask: Tensor, reduction: str, learned: Tensor | None = None) -> Tensor:
    kept = np.ones(len(mask), np.bool_) if learned is None else learned.numpy()
    per_row = REDUCTIONS[reduction](mask.sum(1).numpy(), kept)
    return torch.from_numpy(per_row)[:, None].expand(mask.shape)


def loss_and_gradient(
    preset: Preset, lp: Tensor, old: Tensor, advantages: Tensor, mask: Tensor, learned: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Loss and its gradient in the log-probs, under the weights of the preset's reduction."""
    lp = lp.clone().requires_grad_()
    loss, _ = policy_loss(preset, lp, old, advantages, mask, weights(mask, preset.reduction, learned))
    (gradient,) = torch.autograd.grad(loss, lp)
    return loss.detach(), gradient


def random_batch(seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """lp, old, advantages, mask of a random shape, with holes and empty rows."""
    rng = torch.Generator().manual_seed(seed)
    rows, width = (int(torch.randint(1, 7, (), generator=rng)) for _ in range(2))
    lp = -torch.rand(rows, width, generator=rng, dtype=torch.float64) * 3
    old = lp + 0.3 * torch.randn(rows, width, generator=rng, dtype=torch.float64)
    return lp, old, torch.randn(rows, generator=rng, dtype=torch.float64), torch.rand(rows, width, generator=rng) < 0.7


seeds = st.integers(0, 10_000)


def test_every_choice_a_config_may_name_is_there() -> None:
    assert set(SURROGATES) == set(presets.SURROGATES)
    assert {preset.ratio for preset in PRESETS.values()} <= set(RATIOS)


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("case", GOLDEN["cases"].values(), ids=GOLDEN["cases"])
def test_loss_and_gradient_are_the_golden_ones_whatever_lies_in_masked_slots(case: dict[str, Any], garbage: float) -> None:
    lp, old = (BATCH[k].masked_fill(~MASK, garbage) for k in (case["logp"], "logp_old"))
    token_wise = 1 + 0.1 * torch.arange(MASK.shape[1], dtype=torch.float64)
    advantages = ADVANTAGES[:, None] * token_wise if case["token_wise_advantages"] else ADVANTAGES
    loss, gradient = loss_and_gradient(PRESETS[case["preset"]], lp, old, advantages, MASK)
    assert loss.item() == pytest.approx(case["loss"], abs=1e-9)
    torch.testing.assert_close(gradient, torch.tensor(case["grad"], dtype=torch.float64), atol=1e-9, rtol=0)
    assert gradient[~MASK].eq(0).all()


@pytest.mark.parametrize("name", GOLDEN["sharding"])
def test_micro_batch_losses_are_the_golden_ones_and_sum_to_the_loss(name: str) -> None:
    golden, preset = GOLDEN["sharding"][name], PRESETS[GOLDEN["sharding"][name]["preset"]]
    weight, total = weights(MASK, preset.reduction), 0.0
    for rank, losses in zip(golden["plan"], golden["micro_losses"], strict=True):
        for rows, expected in zip(rank, losses, strict=True):
            loss, _ = policy_loss(preset, BATCH["logp_new"][rows], BATCH["logp_old"][rows], ADVANTAGES[rows], MASK[rows], weight[rows])
            assert loss.item() == pytest.approx(expected, abs=1e-9)
            total += loss.item()
    assert total == pytest.approx(golden["loss"], abs=1e-9)


@pytest.mark.parametrize("reduction", ["token_mean", "sequence_mean"])
def test_a_response_that_is_not_learned_leaves_the_denominators(reduction: str) -> None:
    learned = torch.arange(len(MASK)) != 1
    preset = PRESETS["grpo"].replace(reduction=reduction)
    loss, _ = loss_and_gradient(preset, BATCH["logp_new"], BATCH["logp_old"], ADVANTAGES, MASK, learned=learned)
    assert loss.item() == pytest.approx(GOLDEN["edges"]["row1_masked"][reduction], abs=1e-9)


def test_token_mean_with_the_symmetric_clip_is_the_golden_one() -> None:
    loss, _ = loss_and_gradient(PRESETS["grpo"].replace(reduction="token_mean"), BATCH["logp_new"], BATCH["logp_old"], ADVANTAGES, MASK)
    assert loss.item() == pytest.approx(GOLDEN["edges"]["token_mean_clip_0.2"], abs=1e-9)


@pytest.mark.parametrize("advantage", [1.0, -1.0])
def test_a_log_ratio_of_a_hundred_stays_finite_and_stops_the_gradient(advantage: float) -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    loss, gradient = loss_and_gradient(PRESETS["dapo"], 100 * one, 0 * one, advantage * one, one.bool())
    assert loss.item() == pytest.approx(GOLDEN["edges"]["log_ratio_100_clip_0.28"][f"advantage_{advantage:.0f}"], rel=1e-9)
    assert gradient.item() == 0


@every_preset
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_on_policy_the_gradient_is_minus_advantage_times_weight(preset: Preset, seed: int) -> None:
    lp, _, advantages, mask = random_batch(seed)
    loss, gradient = loss_and_gradient(preset, lp, lp, advantages, mask)
    expected = torch.where(mask, -advantages[:, None] * weights(mask, preset.reduction), 0.0)
    torch.testing.assert_close(gradient, expected, atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(loss, expected.sum(), atol=1e-14, rtol=1e-12)


@every_preset
@given(seed=seeds, garbage=st.sampled_from(GARBAGE))
@settings(max_examples=25, deadline=None)
def test_padding_and_row_order_change_nothing(preset: Preset, seed: int, garbage: float) -> None:
    lp, old, advantages, mask = random_batch(seed)
    loss, gradient = loss_and_gradient(preset, lp, old, advantages, mask)
    order = torch.randperm(len(lp), generator=torch.Generator().manual_seed(seed))
    wider = [torch.nn.functional.pad(x, (0, 3), value=v)[order] for x, v in ((lp, garbage), (old, garbage), (mask, False))]
    same, other = loss_and_gradient(preset, wider[0], wider[1], advantages[order], wider[2])
    torch.testing.assert_close(same, loss, atol=1e-14, rtol=1e-12)
    torch.testing.assert_close(other[:, :-3], gradient[order], atol=1e-14, rtol=1e-12)
    assert other[:, -3:].eq(0).all()


@every_preset
@given(seed=seeds, scale=st.floats(0.01, 100))
@settings(max_examples=25, deadline=None)
def test_scaled_advantages_scale_loss_and_gradient(preset: Preset, seed: int, scale: float) -> None:
    lp, old, advantages, mask = random_batch(seed)
    loss, gradient = loss_and_gradient(preset, lp, old, advantages, mask)
    larger, steeper = loss_and_gradient(preset, lp, old, scale * advantages, mask)
    torch.testing.assert_close(larger, scale * loss, atol=1e-12, rtol=1e-10)
    torch.testing.assert_close(steeper, scale * gradient, atol=1e-12, rtol=1e-10)


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_a_sequence_ratio_over_one_token_is_the_token_ratio(seed: int) -> None:
    lp, old, advantages, mask = (x[:, :1] if x.dim() > 1 else x for x in random_batch(seed))
    by_sequence = loss_and_gradient(PRESETS["gspo"].replace(clip_low=0.2, clip_high=0.2), lp, old, advantages, mask)
    torch.testing.assert_close(by_sequence, loss_and_gradient(PRESETS["grpo"], lp, old, advantages, mask), atol=1e-14, rtol=1e-12)


@every_preset
def test_with_everything_masked_the_loss_is_a_connected_zero(preset: Preset) -> None:
    nan = torch.full((2, 3), float("nan"), dtype=torch.float64)
    loss, gradient = loss_and_gradient(preset, nan, nan, nan[:, 0], torch.zeros(2, 3, dtype=torch.bool))
    assert loss.item() == 0
    assert gradient.eq(0).all()


def test_statistics_count_clipped_tokens_by_sign_and_ignore_masked_ones() -> None:
    log_ratio = torch.tensor([[-0.5, 0.5, 0.0, 9.0], [-0.5, 0.5, -0.6, 9.0], [-0.5, 0.5, 9.0, 9.0]], dtype=torch.float64)
    mask = log_ratio < 9
    advantages = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    _, stats = policy_loss(PRESETS["grpo"], log_ratio, torch.zeros_like(log_ratio), advantages, mask, mask.double())
    seen = log_ratio[mask]
    expected = {
        "tokens": 8.0,
        "clipped_low": 2.0,
        "clipped_high": 1.0,
        "ratio": seen.exp().sum().item(),
        "kl": (seen.exp() - 1 - seen).sum().item(),
        "abs_log_ratio": seen.abs().sum().item(),
        "max_abs_log_ratio": 0.6,
    }
    assert {name: value.item() for name, value in stats.items()} == pytest.approx(expected, abs=1e-12)
    assert not any(value.requires_grad for value in stats.values())


@every_preset
@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_statistics_of_parts_add_up_to_those_of_the_whole(preset: Preset, seed: int) -> None:
    lp, old, advantages, mask = random_batch(seed)
    weight = weights(mask, preset.reduction)
    whole, parts = (
        [policy_loss(preset, lp[i], old[i], advantages[i], mask[i], weight[i])[1] for i in rows]
        for rows in ([slice(None)], [slice(0, 1), slice(1, None)])
    )
    for name, value in whole[0].items():
        combined = max(part[name] for part in parts) if name in MAXIMA else sum(part[name] for part in parts)
        assert value.item() == pytest.approx(float(combined), abs=1e-12)
