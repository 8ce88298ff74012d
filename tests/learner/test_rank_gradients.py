"""The gradient that reaches DeepSpeed's optimizer is that of one big batch in plain torch, for every objective, stage and rank count."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.loader import load
from learner.batch.plan import plan_step
from learner.batch.recorded import Recording
from learner.batch.row import Row
from learner.batch.tensors import Batch
from learner.loss.kl import kl_of_tokens
from learner.loss.turns import rewards_of_turns
from learner.model.policy import load_policy
from learner.model.precision import apply_precision
from rollout.types import Group, GroupSummary
from tests.conftest import RankResults
from tests.toys.batches import whole_batch
from tests.toys.gradient import ENTROPY, EVERYWHERE, OBJECTIVES, WITH_ALL, credit_of, elsewhere, groups_of, nearness
from tests.toys.one_batch import batch_loss, planned
from tests.toys.ranks import BUDGET, PACKED_BUDGET, recorded_groups

pytestmark = pytest.mark.end_to_end

Results = dict[tuple[str, int], dict[str, Any]]


@pytest.fixture(scope="module")
def results(ranks: RankResults) -> Results:
    """Gradients under ZeRO 1, 2 and 3, on one rank and on two whose rows are uneven; on two also packed."""
    found = ranks.of("gradient")
    assert len(found) == 7
    return found


def in_one_batch(folder: Path, label: str, routed: Callable[[Batch], Recording] | None = None) -> tuple[float, list[Tensor]]:
    """Loss and gradient of the update as a single micro-batch, by autograd alone; `routed` says which experts tokens take."""
    objective, groups, credit = OBJECTIVES[label], groups_of(label, recorded_groups()), credit_of(label)
    config = load(folder / "config.toml")
    policy = load_policy(config)
    policy.entropy_gradient = label in ENTROPY
    apply_precision(policy, config.learner)
    summaries = [GroupSummary.of(group) for group in groups]

    rows = planned(summaries, objective, credit)
    batch = whole_batch(rows, groups, 0)
    logprobs, entropy = policy(batch)
    batch, old, reference = elsewhere(batch, logprobs.detach(), nearness(objective))
    if objective.kl.in_reward:
        costs = objective.kl.coefficient * kl_of_tokens(objective.kl.estimator, old, reference, torch.zeros_like(old), batch.mask)
        charged = planned(less(summaries, groups, rows, costs.double()), objective, credit)
        batch = replace(batch, advantages=whole_batch(charged, groups, 0).advantages)
    if routed is not None:
        logprobs, entropy = policy(batch, routed(batch))
    base = old if objective.preset.old == "learner" else batch.engine_logprobs
    loss = batch_loss(objective, logprobs, batch, old=base, reference=reference)
    if label in ENTROPY:
        loss = loss - ENTROPY[label] * (torch.where(batch.mask, entropy, 0) * batch.token_weight).sum()
    torch.autograd.backward(loss)
    return loss.item(), [p.grad if p.grad is not None else torch.zeros_like(p) for p in policy.parameters()]


def less(summaries: Sequence[GroupSummary], groups: Sequence[Group], rows: Sequence[Row], costs: Tensor) -> list[GroupSummary]:
    """The summaries with the costs [B, T] of the rows' tokens taken off the rewards of their turns."""
    rewards = [summary.rewards.copy() for summary in summaries]
    turns = [[values.copy() for values in rewards_of_turns(summary, summary.rewards)] for summary in summaries]
    for row, cost in zip(rows, costs, strict=True):
        spans = groups[row.group].responses[row.member].segments[row.segment].spans
        for number, (begin, end) in enumerate(spans):
            rewards[row.group][row.member] -= float(cost[begin:end].sum())
            turns[row.group][row.member][row.first_turn + number] -= float(cost[begin:end].sum())
    return [replace(s, rewards=whole, turn_rewards=tuple(own)) for s, whole, own in zip(summaries, rewards, turns, strict=True)]


@pytest.mark.parametrize("label", OBJECTIVES)
def test_the_gradient_is_that_of_one_big_batch(ranks: RankResults, results: Results, label: str) -> None:
    loss, expected = in_one_batch(ranks.folder, label)
    mine = {key: result for key, result in results.items() if label in result["stats"]}
    assert sorted(mine) == sorted(results if label in EVERYWHERE else [(run.split("-")[1], world) for run, world in WITH_ALL])
    scale = max(1.0, *(float(gradient.abs().max()) for gradient in expected))
    assert max(float(gradient.abs().max()) for gradient in expected) > 1e-3, "a gradient of nothing would agree with anything"
    for key, result in mine.items():
        assert result["stats"][label]["loss"] == pytest.approx(loss, abs=1e-6 * max(1.0, abs(loss))), key
        worst = max(float((ours - theirs).abs().max()) for ours, theirs in zip(result["gradients"][label], expected, strict=True))
        assert worst <= 1e-6 * scale, f"{key}: off by {worst}"


@pytest.mark.parametrize(("budget", "packed"), [(BUDGET, False), (PACKED_BUDGET, True)], ids=["padded", "packed"])
def test_two_ranks_had_uneven_rows_and_an_empty_micro_batch(budget: int, packed: bool) -> None:
    summaries = [GroupSummary.of(group) for group in recorded_groups()]
    plan = plan_step(summaries, OBJECTIVES["grpo"].preset, updates=1, ranks=2, micro_batch_tokens=budget, response_tokens=8, packed=packed)
    parts = plan.updates[0].micro_batches
    assert any(not part for rank in parts for part in rank)
    assert len(np.unique([sum(map(len, rank)) for rank in parts])) == 2
