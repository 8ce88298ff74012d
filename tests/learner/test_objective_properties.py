"""Properties of every objective on any batch."""

from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from configs.presets import CORRECTIONS, PRESETS, Kl, Objective
from configs.surrogates import DppoTv
from learner.loss.advantages import ADVANTAGES
from learner.loss.objective import MAXIMA, LossInputs, policy_loss
from tests.toys.objective import (
    GARBAGE,
    GRPO,
    OBJECTIVES,
    Outcome,
    corner,
    each_input,
    on_policy,
    outcome,
    per_token,
    random_batch,
    same,
    spoilt,
    weights,
)

every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)
seeds = st.integers(0, 100_000)
few = settings(max_examples=5, deadline=None)  # of each objective
many = settings(max_examples=15, deadline=None)


def batch_for(objective: Objective, seed: int) -> tuple[Tensor, LossInputs]:
    return random_batch(seed, objective.preset.reduction)


@pytest.mark.parametrize(
    "objective", [o for o in OBJECTIVES.values() if o.kl.estimator != "k1"], ids=[n for n in OBJECTIVES if "+k1" not in n]
)
@given(seed=seeds)
@few
def test_on_policy_every_gradient_is_minus_advantage_times_weight(objective: Objective, seed: int) -> None:
    logprobs, taken = batch_for(objective, seed)
    got = outcome(objective, logprobs, on_policy(logprobs, taken))
    same(got.gradient, torch.where(taken.mask, -per_token(taken) * taken.token_weight, 0.0))


@given(seed=seeds)
@many
def test_on_policy_k1_in_the_loss_adds_its_coefficient_to_every_gradient(seed: int) -> None:
    logprobs, taken = batch_for(OBJECTIVES["grpo+k1"], seed)
    got = outcome(OBJECTIVES["grpo+k1"], logprobs, on_policy(logprobs, taken))
    same(got.gradient, torch.where(taken.mask, (0.3 - per_token(taken)) * taken.token_weight, 0.0))


VALUES = {"sapo": "gate", "cispo": "score", "reinforce": "score", "minirl": "score"}


@pytest.mark.parametrize("name", PRESETS)
@given(seed=seeds)
@few
def test_on_policy_the_loss_is_minus_advantage_times_weight_where_it_is_a_ratio(name: str, seed: int) -> None:
    objective, (logprobs, taken) = OBJECTIVES[name], batch_for(OBJECTIVES[name], seed)
    advantages, tau = per_token(taken), 1.0 + 0.05 * (per_token(taken) <= 0).double()
    unit = {"gate": 2 / tau, "score": logprobs}.get(VALUES.get(PRESETS[name].surrogate.name, ""), torch.ones_like(logprobs))
    expected = torch.where(taken.mask, -advantages * unit * taken.token_weight, 0.0).sum()
    same(outcome(objective, logprobs, on_policy(logprobs, taken)).loss, expected)


@given(seed=seeds, members=st.integers(2, 4))
@many
def test_on_policy_the_value_is_zero_over_equal_groups_by_sequence_mean_but_not_by_token_mean(seed: int, members: int) -> None:
    rng = np.random.default_rng(seed)
    rewards, lengths = rng.integers(0, 3, (3, members)).astype(np.float64), rng.integers(1, 6, 3 * members)
    advantages = torch.from_numpy(np.concatenate(ADVANTAGES["standardised"](list(rewards), list(lengths.reshape(3, -1).astype(float)))))
    mask = torch.arange(5) < torch.from_numpy(lengths)[:, None]
    logprobs = -torch.rand(mask.shape, dtype=torch.float64)
    for reduction, value in (("sequence_mean", 0.0), ("token_mean", -(advantages * mask.sum(1)).sum() / mask.sum())):
        weight = weights(mask, reduction, torch.arange(3).repeat_interleave(members))
        taken = LossInputs(old_logprobs=logprobs, advantages=advantages, mask=mask, token_weight=weight)
        same(outcome(Objective(preset=GRPO), logprobs, taken).loss, value)


@every_objective
@given(seed=seeds, garbage=st.sampled_from(GARBAGE))
@few
def test_masked_slots_add_nothing_whatever_lies_in_them(objective: Objective, seed: int, garbage: float) -> None:
    logprobs, taken = batch_for(objective, seed)
    clean = outcome(objective, logprobs, taken)
    got = outcome(objective, logprobs.masked_fill(~taken.mask, garbage), spoilt(taken, garbage))
    assert got.loss == clean.loss
    assert got.gradient.equal(clean.gradient)
    assert got.gradient[~taken.mask].eq(0).all()
    assert {name: value.item() for name, value in got.sums.items()} == {name: value.item() for name, value in clean.sums.items()}


@every_objective
@given(seed=seeds, garbage=st.sampled_from(GARBAGE))
@few
def test_padding_and_row_order_change_nothing(objective: Objective, seed: int, garbage: float) -> None:
    logprobs, taken = batch_for(objective, seed)
    order = torch.randperm(len(logprobs), generator=torch.Generator().manual_seed(seed))
    wider = each_input(taken, lambda x: pad(x, (0, 3), value=False if x.dtype == torch.bool else garbage)[order])
    got, before = outcome(objective, pad(logprobs, (0, 3), value=garbage)[order], wider), outcome(objective, logprobs, taken)
    same(got.loss, before.loss)
    same(got.gradient[:, :-3], before.gradient[order])
    assert got.gradient[:, -3:].eq(0).all()


@every_objective
@given(seed=seeds, cuts=st.lists(st.integers(0, 8), max_size=3))
@few
def test_losses_gradients_and_statistics_of_any_parts_add_up(objective: Objective, seed: int, cuts: list[int]) -> None:
    logprobs, taken = batch_for(objective, seed)
    whole, edges = outcome(objective, logprobs, taken), sorted({0, *(min(c, len(logprobs)) for c in cuts), len(logprobs)})
    parts: list[Outcome] = []
    for start, end in pairwise(edges):
        columns = int(taken.mask[start:end].any(0).nonzero().max()) + 1 if taken.mask[start:end].any() else 0
        part = outcome(objective, logprobs[start:end, :columns], corner(taken, slice(start, end), columns))
        parts.append(part._replace(gradient=pad(part.gradient, (0, logprobs.shape[1] - columns))))
    same(torch.stack([part.loss for part in parts]).sum(), whole.loss)
    same(torch.cat([part.gradient for part in parts]), whole.gradient)
    for name, value in whole.sums.items():
        combine = torch.amax if name in MAXIMA else torch.sum
        same(combine(torch.stack([part.sums[name] for part in parts])), value)


@pytest.mark.parametrize("name", [name for name, objective in OBJECTIVES.items() if not objective.kl.in_loss])
@given(seed=seeds, scale=st.floats(0.01, 100))
@few
def test_scaled_advantages_scale_loss_and_gradient(name: str, seed: int, scale: float) -> None:
    objective = OBJECTIVES[name]
    if name == "dppo_tv":  # its pull to the old policy does not depend on the advantage
        objective = replace(objective, preset=objective.preset.replace(surrogate=DppoTv(clip_low=0.2, clip_high=0.2, pull=0.0)))
    logprobs, taken = batch_for(objective, seed)
    before, got = outcome(objective, logprobs, taken), outcome(objective, logprobs, replace(taken, advantages=scale * taken.advantages))
    same(got.loss, scale * before.loss)
    same(got.gradient, scale * before.gradient)


@every_objective
@pytest.mark.parametrize("distance", [100.0, -100.0])
def test_far_from_every_other_policy_loss_and_gradient_stay_finite_in_float32(objective: Objective, distance: float) -> None:
    logprobs = torch.full((2, 3), -0.5)
    far = logprobs - distance
    taken = LossInputs(
        old_logprobs=far,
        engine_logprobs=far - distance,
        reference_logprobs=far,
        advantages=torch.tensor([1.0, -1.0]),
        mask=torch.ones(2, 3, dtype=torch.bool),
        token_weight=torch.ones(2, 3),
    )
    got = outcome(objective, logprobs, taken)
    assert got.loss.isfinite()
    assert got.gradient.isfinite().all()
    assert all(value.isfinite() for value in got.sums.values())


@every_objective
def test_with_everything_masked_the_loss_is_a_connected_zero(objective: Objective) -> None:
    for shape, garbage in product([(2, 3), (1, 1), (2, 0), (0, 3)], GARBAGE):
        filled, mask = torch.full(shape, garbage, dtype=torch.float64), torch.zeros(shape, dtype=torch.bool)
        taken = LossInputs(
            old_logprobs=filled,
            engine_logprobs=filled,
            reference_logprobs=filled,
            log_shift=filled,
            advantages=filled,
            mask=mask,
            token_weight=filled,
        )
        got = outcome(objective, filled, taken)
        assert got.loss.item() == 0
        assert got.gradient.eq(0).all()
        assert all(value.item() == 0 for value in got.sums.values())


@given(seed=seeds)
@many
def test_what_the_correction_rejects_stays_in_the_denominator_of_the_rest(seed: int) -> None:
    for name in ("mis", "sequence_mis", "icepop", "geometric", "veto", "opsm"):
        keep_only = replace(CORRECTIONS[name], weight="none", cap=None, veto_low=0.9)
        objective = Objective(preset=PRESETS["dapo"], correction=keep_only)
        logprobs, taken = batch_for(objective, seed)
        plain, got = outcome(Objective(preset=PRESETS["dapo"]), logprobs, taken), outcome(objective, logprobs, taken)
        dropped = got.gradient.eq(0) & plain.gradient.ne(0)
        assert got.gradient[~dropped].equal(plain.gradient[~dropped])
        assert got.sums["masked"] + got.sums["vetoed"] >= dropped.sum()


@given(seed=seeds)
@many
def test_the_pull_to_the_reference_is_untouched_by_advantage_clip_and_correction(seed: int) -> None:
    nothing_left = Objective(preset=GRPO, correction=replace(CORRECTIONS["veto"], veto_low=1e9), kl=Kl(coefficient=0.3, estimator="k2"))
    logprobs, taken = batch_for(nothing_left, seed)
    got = outcome(nothing_left, logprobs, taken)
    assert taken.reference_logprobs is not None
    same(got.gradient, torch.where(taken.mask, 0.3 * (logprobs - taken.reference_logprobs) * taken.token_weight, 0.0))
    assert got.sums["vetoed"] == got.sums["tokens"] == taken.mask.sum()


def test_statistics_are_float64_and_carry_no_gradient() -> None:
    for objective in OBJECTIVES.values():
        logprobs, taken = batch_for(objective, 3)
        leaves = each_input(taken, lambda x: x if x.dtype == torch.bool else x.clone().requires_grad_(True))
        _, sums = policy_loss(objective, logprobs.clone().requires_grad_(), leaves)
        assert not any(value.requires_grad or value.dtype != torch.float64 for value in sums.values())


def test_statistics_are_sums_over_unmasked_tokens() -> None:
    log_ratio = torch.tensor([[-0.5, 0.5, 0.0, 9.0], [-0.5, 0.5, -0.6, 9.0], [-0.5, 0.5, 9.0, 9.0]], dtype=torch.float64)
    mask = log_ratio < 9
    advantages = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)
    zeros = torch.zeros_like(log_ratio)
    taken = LossInputs(old_logprobs=zeros, advantages=advantages, mask=mask, token_weight=mask.double(), reference_logprobs=zeros + 0.5)
    _, sums = policy_loss(Objective(preset=GRPO), log_ratio, taken)
    seen = log_ratio[mask]
    expected = {
        "tokens": 8.0,
        "clipped_positive_high": 1.0,
        "clipped_positive_low": 0.0,
        "clipped_negative_high": 0.0,
        "clipped_negative_low": 2.0,
        "ratio": seen.exp().sum().item(),
        "kl": (seen.exp() - 1 - seen).sum().item(),
        "abs_log_ratio": seen.abs().sum().item(),
        "max_abs_log_ratio": 0.6,
        "reference_kl": ((0.5 - seen).exp() - 1 - (0.5 - seen)).sum().item(),
    }
    assert {name: value.item() for name, value in sums.items()} == pytest.approx(expected, abs=1e-12)


def test_under_a_sequence_ratio_the_distance_to_the_old_policy_is_still_that_of_tokens() -> None:
    logprobs, taken = batch_for(OBJECTIVES["gspo"], 5)
    by_token, by_sequence = (outcome(OBJECTIVES[name], logprobs, taken).sums for name in ("grpo", "gspo"))
    assert taken.mask.any()
    assert all(by_token[name] == by_sequence[name] for name in ("tokens", "kl", "abs_log_ratio", "max_abs_log_ratio", "reference_kl"))
    mean = torch.where(taken.mask, logprobs - taken.old_logprobs, 0.0).sum(1) / taken.mask.sum(1).clamp(min=1)
    same(by_sequence["ratio"], (mean.exp() * taken.mask.sum(1)).sum())


@every_objective
def test_without_advantages_a_gradient_is_left_only_where_the_objective_says_so(objective: Objective) -> None:
    logprobs, inputs = batch_for(objective, 3)
    got = outcome(objective, logprobs, replace(inputs, advantages=torch.zeros_like(inputs.advantages)))
    assert bool(got.gradient.any()) == objective.acts_without_advantage
