"""Estimators of the distance to a reference: exact expectations over every action, against golden values."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.presets import PRESETS, Kl, Objective
from learner.batch.costs import in_turns
from learner.loss.advantages import ADVANTAGES
from learner.loss.kl import ESTIMATORS, kl_of_tokens
from learner.loss.objective import LossInputs, policy_loss
from tests.toys.objective import BATCH, GARBAGE, GOLDEN, MASK, outcome, same

EXACT = GOLDEN["kl_exact"]
POLICY, REFERENCE, BEHAVIOUR = (torch.tensor(EXACT[name], dtype=torch.float64) for name in ("pi", "ref", "behaviour"))


def golden(name: str) -> Tensor:
    return torch.tensor(EXACT[name], dtype=torch.float64)


def gradient_in_the_logits(estimator: str, *, sampled_by: Tensor) -> Tensor:
    """The gradient of the KL term alone. Every action is a response of one token; its weight is its probability of being sampled."""
    logits = POLICY.log().requires_grad_()
    taken = LossInputs(
        old_logprobs=sampled_by.log()[:, None],
        advantages=torch.zeros(4, dtype=torch.float64),
        mask=torch.ones(4, 1, dtype=torch.bool),
        token_weight=sampled_by[:, None],
        reference_logprobs=REFERENCE.log()[:, None],
    )
    objective = Objective(preset=PRESETS["grpo"], kl=Kl(coefficient=1.0, estimator=estimator))
    loss, _ = policy_loss(objective, logits.log_softmax(0)[:, None], taken)
    (gradient,) = torch.autograd.grad(loss, logits)
    return gradient


def near(ours: Tensor, theirs: Tensor) -> None:
    torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)


def test_every_estimator_is_looked_at() -> None:
    assert set(ESTIMATORS) == {"k1", "k2", "k3", "k3_clamped", "ratio_k3"}


@pytest.mark.parametrize(
    ("estimator", "case"),
    [
        ("k1", "grad_k1_as_loss_on_policy"),
        ("k2", "grad_k2_as_loss_on_policy"),
        ("k2", "grad_reverse_kl"),
        ("k3", "grad_k3_as_loss_on_policy"),
        ("k3", "grad_forward_kl"),
        ("ratio_k3", "grad_reverse_kl"),
    ],
)
def test_in_the_loss_on_policy_the_expected_gradient_is_the_golden_one(estimator: str, case: str) -> None:
    near(gradient_in_the_logits(estimator, sampled_by=POLICY), golden(case))


def test_in_the_loss_k1_has_no_gradient_in_expectation() -> None:
    near(gradient_in_the_logits("k1", sampled_by=POLICY), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("estimator", "case"),
    [
        ("ratio_k3", "grad_rho_k3_as_loss_off_policy"),
        ("ratio_k3", "grad_reverse_kl"),
        ("k3", "grad_k3_as_loss_off_policy_no_rho"),
    ],
)
def test_in_the_loss_off_policy_only_the_ratio_keeps_the_gradient_right(estimator: str, case: str) -> None:
    near(gradient_in_the_logits(estimator, sampled_by=BEHAVIOUR), golden(case))


def test_a_ratio_without_gradient_would_give_forward_kl() -> None:
    x, ratio = (POLICY / REFERENCE).log(), (POLICY / BEHAVIOUR).log()
    logits = POLICY.log().requires_grad_()
    value = ESTIMATORS["k3"](logits.log_softmax(0) - REFERENCE.log(), ratio) * ratio.exp()
    (gradient,) = torch.autograd.grad((BEHAVIOUR * value).sum(), logits)
    near(gradient, golden("grad_rho_detached_k3_off_policy"))
    near(ESTIMATORS["k3"](x, ratio) * ratio.exp(), ESTIMATORS["ratio_k3"](x, ratio))


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_in_the_reward_the_expected_gradient_is_the_golden_one(estimator: str) -> None:
    logits = POLICY.log().requires_grad_()
    one = torch.ones(4, 1, dtype=torch.bool)
    cost = kl_of_tokens(estimator, POLICY.log()[:, None], REFERENCE.log()[:, None], torch.zeros(4, 1), one).sum(-1)
    (gradient,) = torch.autograd.grad((POLICY * cost * logits.log_softmax(0)).sum(), logits)
    near(gradient, golden(f"grad_{estimator}_in_reward_on_policy"))
    if estimator == "k1":
        near(gradient, golden("grad_reverse_kl"))


@pytest.mark.parametrize(
    ("estimator", "case"), [("k1", "E[k1]"), ("k2", "E[k2]"), ("k3", "E[k3]"), ("k1", "reverse_kl"), ("k3", "reverse_kl")]
)
def test_the_expected_value_is_the_golden_one(estimator: str, case: str) -> None:
    x = (POLICY / REFERENCE).log()
    near((POLICY * ESTIMATORS[estimator](x, 0 * x)).sum(), golden(case))


def test_off_policy_the_ratio_keeps_the_value_right_too() -> None:
    x, ratio = (POLICY / REFERENCE).log(), (POLICY / BEHAVIOUR).log()
    near((BEHAVIOUR * ESTIMATORS["ratio_k3"](x, ratio)).sum(), golden("reverse_kl"))


@pytest.mark.parametrize("x", [-1000.0, -21.0, -19.0, 19.0, 21.0, 1000.0])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_far_from_the_reference_value_and_gradient_stay_finite(estimator: str, x: float) -> None:
    one = torch.ones(1, 1, dtype=torch.float64)
    taken = LossInputs(old_logprobs=0 * one, advantages=0 * one, mask=one.bool(), token_weight=one, reference_logprobs=-x * one)
    got = outcome(Objective(preset=PRESETS["grpo"], kl=Kl(coefficient=1.0, estimator=estimator)), 0 * one, taken)
    assert got.loss.isfinite()
    assert got.gradient.isfinite().all()
    if estimator == "k3_clamped":  # flat at every x tried here
        assert got.gradient.item() == 0
        assert got.loss.item() == 10
    elif estimator != "k1":
        assert got.gradient.sign().item() == (1 if x > 0 else -1), "towards the reference, however far it is"
    assert got.sums["reference_kl"].isfinite()


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_kl_of_a_response_is_the_sum_over_its_unmasked_tokens(estimator: str, garbage: float) -> None:
    mask = MASK & (torch.arange(len(MASK)) != 3)[:, None]
    policy, reference, ratio = BATCH["logp_new"], BATCH["logp_ref"], BATCH["logp_new"] - BATCH["logp_old"]
    filled = (values.masked_fill(~mask, garbage).requires_grad_() for values in (policy, reference, ratio))
    ours = in_turns(kl_of_tokens(estimator, *filled, mask), None)[:, 0]
    x = policy - reference
    k3 = (-x).exp() - 1 + x
    by_hand = {"k1": x, "k2": x * x / 2, "k3": k3, "k3_clamped": k3.clamp(max=10), "ratio_k3": ratio.exp() * k3}[estimator]
    same(ours, torch.stack([row[shown].sum() for row, shown in zip(by_hand, mask, strict=True)]))
    assert ours[3] == 0
    assert not ours.requires_grad


def test_the_kl_of_responses_is_summed_in_float64() -> None:
    assert in_turns(torch.ones(1, 3, dtype=torch.float32), None).dtype == torch.float64


def test_with_a_coefficient_of_zero_or_in_the_reward_the_distance_is_logged_and_nothing_pulls() -> None:
    taken = LossInputs(
        old_logprobs=BATCH["logp_old"],
        advantages=BATCH["reward"],
        mask=MASK,
        token_weight=torch.ones_like(BATCH["mask"]),
        reference_logprobs=BATCH["logp_ref"],
    )
    preset = PRESETS["grpo"]
    free = outcome(Objective(preset=preset), BATCH["logp_new"], taken)
    placed = outcome(Objective(preset=preset, kl=Kl(coefficient=0.5, place="reward")), BATCH["logp_new"], taken)
    assert placed.gradient.equal(free.gradient)
    x = (BATCH["logp_new"] - BATCH["logp_ref"])[MASK]
    same(free.sums["reference_kl"], ((-x).exp() - 1 + x).sum())


@pytest.mark.parametrize("preset", ["gspo", "gmpo", "cispo", "minirl"])
def test_the_ratio_of_ratio_k3_is_each_tokens_own_whatever_the_objective_compares(preset: str) -> None:
    taken = LossInputs(
        old_logprobs=BATCH["logp_old"],
        advantages=torch.zeros(len(MASK), dtype=torch.float64),
        mask=MASK,
        token_weight=MASK.double() / MASK.sum(),
        reference_logprobs=BATCH["logp_ref"],
        log_shift=BATCH["gamma_raw"].log(),
    )
    got = outcome(Objective(preset=PRESETS[preset], kl=Kl(coefficient=1.0, estimator="ratio_k3")), BATCH["logp_new"], taken)
    case = GOLDEN["cases"]["kl_loss_k3_ratio_weighted"]
    assert got.loss.item() == pytest.approx(case["loss"], abs=1e-9)
    torch.testing.assert_close(got.gradient, torch.tensor(case["grad"], dtype=torch.float64), atol=1e-9, rtol=0)


@pytest.mark.parametrize("x", [-19.0, -3.0, -2.62, -2.61, -1.0, 0.0, 0.5, 10.9, 11.1])
def test_the_clamped_k3_is_k3_up_to_10_and_flat_beyond(x: float) -> None:
    value = math.exp(-x) - 1 + x
    at = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    clamped = ESTIMATORS["k3_clamped"](at, 0 * at)
    (slope,) = torch.autograd.grad(clamped, at)
    assert clamped.item() == pytest.approx(min(value, 10), abs=1e-12)
    assert slope.item() == pytest.approx(1 - math.exp(-x) if value <= 10 else 0, abs=1e-12)


def test_without_advantages_the_expected_gradient_is_that_of_the_reverse_kl_of_every_token() -> None:
    """Two positions, three tokens each: the KL of the whole distributions by autograd, against the sampled estimate over all responses."""
    drawn = torch.Generator().manual_seed(5)
    logits = torch.randn(2, 3, generator=drawn, dtype=torch.float64).requires_grad_()
    teacher = torch.randn(2, 3, generator=drawn, dtype=torch.float64).log_softmax(-1)
    behaviour = torch.randn(2, 3, generator=drawn, dtype=torch.float64).log_softmax(-1)
    policy = logits.log_softmax(-1)
    (expected,) = torch.autograd.grad((policy.exp() * (policy - teacher)).sum(), logits)
    responses = torch.cartesian_prod(torch.arange(3), torch.arange(3))  # every response of two tokens

    def of(distributions: Tensor) -> Tensor:
        return distributions.gather(1, responses.T).T

    for sampled_by in (policy.detach(), behaviour):
        chance = of(sampled_by).sum(1).exp()
        taken = LossInputs(
            old_logprobs=of(sampled_by),
            advantages=torch.from_numpy(np.concatenate(ADVANTAGES["none"]([np.arange(9.0)], [np.ones(9)]))),
            mask=torch.ones(9, 2, dtype=torch.bool),
            token_weight=chance[:, None].expand(9, 2),
            reference_logprobs=of(teacher),
        )
        objective = Objective(preset=PRESETS["grpo"].replace(advantage="none"), kl=Kl(coefficient=1.0))
        loss, _ = policy_loss(objective, of(logits.log_softmax(-1)), taken)
        (gradient,) = torch.autograd.grad(loss, logits)
        near(gradient, expected)
