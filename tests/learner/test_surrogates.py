"""Each surrogate against its formula written out for whole responses, and what it counts as clipped."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from configs.presets import PRESETS, Objective, Preset
from configs.surrogates import Cispo, Clip, DppoKl, DppoTv, DualClip, Minirl
from learner.loss.objective import LossInputs, policy_loss
from tests.toys.objective import GRPO, each_input, outcome, per_token, random_batch, same

seeds = st.integers(0, 100_000)
HELD = ("positive_high", "positive_low", "negative_high", "negative_low")
many = settings(max_examples=25, deadline=None)


def preset_batch(preset: Preset, seed: int) -> tuple[Objective, Tensor, LossInputs]:
    return Objective(preset=preset), *random_batch(seed, preset.reduction)


@given(seed=seeds)
@many
def test_the_pull_of_dppo_adds_twice_the_log_ratio_to_every_gradient(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["dppo_tv"].replace(surrogate=DppoTv(clip_low=0.2, clip_high=0.2, pull=0.7)), seed)
    without = outcome(
        replace(objective, preset=objective.preset.replace(surrogate=DppoTv(clip_low=0.2, clip_high=0.2, pull=0.0))), logprobs, taken
    )
    pull = torch.where(taken.mask, 0.7 * taken.token_weight * 2 * (logprobs - taken.old_logprobs), 0.0)
    same(outcome(objective, logprobs, taken).gradient - without.gradient, pull)


@given(seed=seeds)
@many
def test_a_sequence_ratio_over_one_token_is_the_token_ratio(seed: int) -> None:
    logprobs, taken = random_batch(seed, "token_mean")
    first = each_input(taken, lambda x: x[:, :1])
    by_sequence = outcome(Objective(preset=PRESETS["gspo"].replace(surrogate=GRPO.surrogate)), logprobs[:, :1], first)
    by_token = outcome(Objective(preset=GRPO), logprobs[:, :1], first)
    same(by_sequence.loss, by_token.loss)
    same(by_sequence.gradient, by_token.gradient)


@given(seed=seeds)
@many
def test_gspo_is_one_clipped_sequence_ratio_a_response(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["gspo"], seed)
    leaf, full = logprobs.clone().requires_grad_(), taken.mask.any(1)
    tokens = taken.mask.sum(1).clamp(min=1)
    ratio = (torch.where(taken.mask, leaf - taken.old_logprobs, 0.0).sum(1) / tokens).exp()
    gain = torch.minimum(ratio * taken.advantages, ratio.clamp(1 - 3e-4, 1 + 4e-4) * taken.advantages)
    loss = -(gain * full).sum() / full.sum().clamp(min=1)
    (gradient,) = torch.autograd.grad(loss, leaf)
    for name in ("gspo", "gspo_token"):
        got = outcome(replace(objective, preset=PRESETS[name]), logprobs, taken)
        same(got.loss, loss.detach())
        same(got.gradient, gradient)


@given(seed=seeds)
@many
def test_gmpo_is_one_geometric_mean_of_clipped_ratios_a_response(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["gmpo"], seed)
    leaf, full, sign = logprobs.clone().requires_grad_(), taken.mask.any(1), taken.advantages.sign()[:, None]
    distance = sign * (leaf - taken.old_logprobs)
    held = sign * torch.minimum(distance, distance.clamp(-0.4, 0.4))
    mean = (torch.where(taken.mask, held, 0.0).sum(1) / taken.mask.sum(1).clamp(min=1)).exp()
    loss = -(mean * taken.advantages * full).sum() / full.sum().clamp(min=1)
    (gradient,) = torch.autograd.grad(loss, leaf)
    got = outcome(objective, logprobs, taken)
    same(got.loss, loss.detach())
    same(got.gradient, gradient)


@given(seed=seeds)
@many
def test_the_coefficient_of_sapo_is_the_ratio_times_a_squared_hyperbolic_secant(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["sapo"], seed)
    ratio, tau = (logprobs - taken.old_logprobs).exp(), 1.0 + 0.05 * (per_token(taken) <= 0).double()
    expected = -per_token(taken) * ratio / torch.cosh(tau * (ratio - 1) / 2) ** 2 * taken.token_weight
    same(outcome(objective, logprobs, taken).gradient, torch.where(taken.mask, expected, 0.0))


@given(st.floats(0.001, 0.99), st.sampled_from([1.0, -1.0]))
def test_the_gate_of_sapo_is_even_around_a_ratio_of_one(distance: float, advantage: float) -> None:
    ratio = torch.tensor([[1 + distance, 1 - distance]], dtype=torch.float64)
    ones = torch.ones_like(ratio)
    taken = LossInputs(old_logprobs=torch.zeros_like(ratio), advantages=advantage * ones, mask=ones.bool(), token_weight=ones)
    up, down = (outcome(Objective(preset=PRESETS["sapo"]), ratio.log(), taken).gradient / ratio)[0]
    same(up, down)


@given(seed=seeds)
@many
def test_dppo_drops_a_token_whose_probability_has_moved_too_far_the_advantages_way(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["dppo_tv"].replace(surrogate=DppoTv(clip_low=0.05, clip_high=0.02, pull=0.0)), seed)
    advantages, moved = per_token(taken), logprobs.exp() - taken.old_logprobs.exp()
    dropped = ((advantages > 0) & (moved > 0.02)) | ((advantages < 0) & (moved < -0.05))
    expected = torch.where(taken.mask & ~dropped, -advantages * (logprobs - taken.old_logprobs).exp() * taken.token_weight, 0.0)
    got = outcome(objective, logprobs, taken)
    same(got.gradient, expected)
    same(got.loss, expected.sum())
    assert sum(got.sums[f"clipped_{sign}"] for sign in HELD) == (dropped & taken.mask).sum()


@given(seed=seeds)
@many
def test_dppo_drops_a_token_whose_binary_kl_is_too_large_the_advantages_way(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["dppo_kl"].replace(surrogate=DppoKl(clip_low=0.05, clip_high=0.02)), seed)
    logprobs, taken = logprobs.clamp(max=-0.001), replace(taken, old_logprobs=taken.old_logprobs.clamp(max=-0.001))
    advantages = per_token(taken)
    old, new = (torch.distributions.Bernoulli(probs=x.exp()) for x in (taken.old_logprobs, logprobs))
    divergence, risen = torch.distributions.kl_divergence(old, new), logprobs > taken.old_logprobs
    dropped = ((advantages > 0) & risen & (divergence > 0.02)) | ((advantages < 0) & ~risen & (divergence > 0.05))
    expected = torch.where(taken.mask & ~dropped, -advantages * (logprobs - taken.old_logprobs).exp() * taken.token_weight, 0.0)
    got = outcome(objective, logprobs, taken)
    same(got.gradient, expected)
    same(got.loss, expected.sum())
    assert sum(got.sums[f"clipped_{sign}"] for sign in HELD) == (dropped & taken.mask).sum()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("old", "new", "advantage", "dropped"),
    [
        (0.99, 0.75, -1, True),  # KL 0.243, far though the ratio is within PPO's bounds
        (1e-4, 1e-2, 1, False),  # KL 0.0095, near though the ratio is 100
        (0.5, 0.99, -1, False),  # against the advantage
        (0.5, 1.0, 1, True),  # a certain token has no other: the KL stays finite
        (1.0, 1.0, 1, False),
        (1.0, 0.5, -1, True),
        (0.5, 0.6, 1, False),  # KL 0.0204
        (0.5, 0.5, 1, False),
    ],
)
def test_the_binary_kl_judges_probabilities_and_not_ratios(
    old: float, new: float, advantage: float, dropped: bool, dtype: torch.dtype
) -> None:
    before, after = (torch.tensor([[p]], dtype=dtype).log() for p in (old, new))
    ones = torch.ones_like(before)
    taken = LossInputs(old_logprobs=before, advantages=advantage * ones, mask=ones.bool(), token_weight=ones)
    got = outcome(Objective(preset=PRESETS["dppo_kl"]), after, taken)
    assert bool(got.gradient.isfinite().all())
    assert (got.gradient == 0).item() is dropped


@pytest.mark.parametrize("known", [True, False])
@given(seed=seeds)
@many
def test_minirl_weighs_by_the_ratio_to_the_engine_and_without_one_to_the_old_policy(known: bool, seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["minirl"].replace(surrogate=Minirl(clip_low=0.2, clip_high=0.27, cap=1.3)), seed)
    taken = taken if known else replace(taken, engine_logprobs=None)
    advantages, ratio = per_token(taken), (logprobs - taken.old_logprobs).exp()
    dropped = ((advantages > 0) & (ratio > 1.27)) | ((advantages < 0) & (ratio < 0.8))
    sampled = taken.old_logprobs if taken.engine_logprobs is None else taken.engine_logprobs
    weight = (logprobs - sampled).exp().clamp(max=1.3)
    expected = torch.where(taken.mask & ~dropped, -advantages * weight * taken.token_weight, 0.0)
    same(outcome(objective, logprobs, taken).gradient, expected)


@given(seed=seeds)
@many
def test_cispo_keeps_every_tokens_gradient_under_a_weight_within_bounds(seed: int) -> None:
    objective, logprobs, taken = preset_batch(PRESETS["cispo"].replace(surrogate=Cispo(clip_low=0.1, clip_high=0.2)), seed)
    weight = (logprobs - taken.old_logprobs).exp().clamp(0.9, 1.2)
    expected = torch.where(taken.mask, -per_token(taken) * weight * taken.token_weight, 0.0)
    same(outcome(objective, logprobs, taken).gradient, expected)


@given(seed=seeds)
@many
def test_a_shift_of_the_log_ratio_moves_the_clip_and_carries_no_gradient_of_its_own(seed: int) -> None:
    logprobs, taken = random_batch(seed, "sequence_mean")
    shift = -0.3 * torch.rand(logprobs.shape, dtype=torch.float64)
    for name in ("grpo", "gmpo"):
        shifted = outcome(Objective(preset=PRESETS[name]), logprobs, replace(taken, log_shift=shift))
        moved = outcome(Objective(preset=PRESETS[name]), logprobs, replace(taken, old_logprobs=taken.old_logprobs - shift))
        same(shifted.loss, moved.loss)
        same(shifted.gradient, moved.gradient)


def clip_counts(preset: Preset) -> dict[str, float]:
    """How a preset counts tokens at log-ratios of -2, -0.5, 0.1, 0.5 and 2 and, masked, 9, under a good, a bad and a neutral advantage."""
    log_ratio = torch.tensor([[-2.0, -0.5, 0.1, 0.5, 2.0, 9.0]] * 3, dtype=torch.float64)
    taken = LossInputs(
        old_logprobs=torch.zeros_like(log_ratio),
        advantages=torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64),
        mask=log_ratio < 9,
        token_weight=torch.ones_like(log_ratio),
    )
    _, sums = policy_loss(Objective(preset=preset), log_ratio, taken)
    return {name.removeprefix("clipped_"): sums[name].item() for name in sums if name.startswith("clipped_") and sums[name]}


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        (GRPO, {"positive_high": 2, "negative_low": 2}),
        (GRPO.replace(surrogate=Clip(clip_low=0.2, clip_high=1.0)), {"positive_high": 1, "negative_low": 2}),
        (
            GRPO.replace(surrogate=DualClip(clip_low=0.2, clip_high=0.2, cap=3.0)),
            {"positive_high": 2, "negative_low": 2, "negative_high": 1},
        ),
        (PRESETS["cispo"], {"positive_high": 1, "negative_high": 1}),
        (PRESETS["cispo"].replace(surrogate=Cispo(clip_low=0.5, clip_high=4.0)), dict.fromkeys(HELD, 1)),
        (PRESETS["gmpo"], {"positive_high": 2, "negative_low": 2}),
        (PRESETS["minirl"], {"positive_high": 2, "negative_low": 2}),
        (PRESETS["sapo"], {}),
        (PRESETS["rloo"], {}),
    ],
    ids=lambda value: value.surrogate.name if isinstance(value, Preset) else "",
)
def test_held_tokens_are_counted_by_the_sign_of_advantage_and_direction(preset: Preset, expected: dict[str, float]) -> None:
    assert clip_counts(preset) == expected
