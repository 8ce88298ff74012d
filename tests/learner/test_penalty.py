"""The KL taken off the reward: every response pays its own, and a KL that is not finite leaves the plan's rows as they are."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.presets import PRESETS, Kl, Objective
from learner.batch.costs import charged
from learner.batch.plan import plan_step
from learner.measurement import Part
from learner.penalty import kl_costs, repriced
from rollout.types import Group, GroupSummary, Verdict
from tests.toys.batches import whole_batch
from tests.toys.holes import episode, group_of, segment
from tests.toys.moe import moe_group
from tests.toys.one_batch import one_batch, planned
from tests.toys.process_group import alone

COEFFICIENT = 0.5
OBJECTIVE = Objective(preset=PRESETS["rloo"], kl=Kl(coefficient=COEFFICIENT, estimator="k1", place="reward"))
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


def measured(groups: list[Group], reference: Tensor | None = None) -> Part:
    """The whole step as one part; by default each token's old log-prob is 0.25 above the reference's."""
    batch = one_batch(groups, OBJECTIVE)
    old = torch.zeros(batch.mask.shape)
    rows = planned([GroupSummary.of(group) for group in groups], OBJECTIVE)
    return Part(rows=rows, batch=batch, old_logprobs=old, reference_logprobs=old - 0.25 if reference is None else reference)


def test_every_reward_is_charged_the_coefficient_times_the_kl_of_its_response() -> None:
    groups = [moe_group([1, 4, 2]), moe_group([3, 5])]
    summaries = [GroupSummary.of(group) for group in groups]
    costs = kl_costs(OBJECTIVE, [measured(groups)], summaries, CPU)
    np.testing.assert_allclose(costs[..., 0], COEFFICIENT * 0.25 * np.array([[1, 4, 2], [3, 5, 0]]))
    for before, after, cost in zip(summaries, charged(summaries, costs), costs, strict=True):
        np.testing.assert_allclose(after.rewards, before.rewards - cost[: len(before.rewards), 0])


def test_the_same_rows_get_the_advantages_of_the_charged_rewards() -> None:
    groups = [moe_group([1, 4, 2])]
    part, summaries = measured(groups), [GroupSummary.of(group) for group in groups]
    assert not part.batch.advantages.any(), "equal rewards"
    costs = kl_costs(OBJECTIVE, [part], summaries, CPU)
    again = repriced(part, planned(charged(summaries, costs), OBJECTIVE), costs)
    assert [(row.group, row.member) for row in again.rows] == [(row.group, row.member) for row in part.rows]
    by_length = dict(zip(part.batch.mask.sum(1).tolist(), again.batch.advantages.tolist(), strict=True))
    kl = COEFFICIENT * 0.25
    assert by_length == pytest.approx({1: kl * (3 - 1), 2: kl * (2.5 - 2), 4: kl * (1.5 - 4)})


def test_a_kl_that_is_not_finite_makes_only_its_own_advantage_nan() -> None:
    groups = [moe_group([1, 4, 2])]
    reference = torch.full((3, 4), -0.25)
    reference[0] = float("nan")
    part, summaries = measured(groups, reference), [GroupSummary.of(group) for group in groups]
    costs = kl_costs(OBJECTIVE, [part], summaries, CPU)
    again = repriced(part, planned(charged(summaries, costs), OBJECTIVE), costs)
    assert again.batch.advantages.isnan().tolist() == [True, False, False]
    assert len(again.rows) == 3


def test_an_idle_rank_pays_nothing_and_keeps_its_part() -> None:
    groups = [moe_group([1, 4, 2])]
    idle = Part(rows=(), batch=one_batch(groups, OBJECTIVE))
    summaries = [GroupSummary.of(group) for group in groups]
    assert not kl_costs(OBJECTIVE, [idle], summaries, CPU).any()
    assert repriced(idle, (), np.zeros((1, 3, 1))) is idle


def test_by_turn_every_turn_pays_its_own_kl_across_segments() -> None:
    long = episode(2, 3, 1, later=[segment([9], 4, 1, 3)])
    group = group_of([long, episode(5)], [Verdict(reward=1.0, turn_rewards=(0.5, 0.0, 0.0, 0.5)), Verdict(reward=0.25)])
    summary = GroupSummary.of(group)
    plan = partial(plan_step, preset=OBJECTIVE.preset, updates=1, ranks=1, micro_batch_tokens=10_000, response_tokens=9, credit="turn")
    rows = plan([summary]).updates[0].rows
    batch = whole_batch(rows, [group], 0)
    old = torch.zeros(batch.mask.shape)
    part = Part(rows=rows, batch=batch, old_logprobs=old, reference_logprobs=old - 0.25)
    costs = kl_costs(OBJECTIVE, [part], [summary], CPU, by_turn=True)
    np.testing.assert_allclose(costs, COEFFICIENT * 0.25 * np.array([[[2, 1, 4, 3], [5, 0, 0, 0]]]))
    (after,) = charged([summary], costs)
    np.testing.assert_allclose(after.rewards, [1 - 10 / 8, 0.25 - 5 / 8])
    assert after.turn_rewards is not None
    np.testing.assert_allclose(after.turn_rewards[0], [0.5 - 2 / 8, -1 / 8, -4 / 8, 0.5 - 3 / 8])
    again = repriced(part, plan([after]).updates[0].rows, costs)
    by_name = {row.name: (row.by_turn, values) for row, values in zip(again.rows, again.batch.advantages.tolist(), strict=True)}
    to_go = [-0.25 + 0.375, -0.5, -0.375, 0.125]
    assert by_name[0, 0][0] == pytest.approx([to_go[0], to_go[1]], abs=1e-15)
    assert by_name[0, 0][1][:6] == pytest.approx([*[to_go[0]] * 2, 0, 0, 0, to_go[1]])
    assert by_name[0, 0, 1][1][:8] == pytest.approx([*[to_go[2]] * 4, 0, *[to_go[3]] * 3])
    costs[0, 0, 2] = np.nan
    spoilt = repriced(part, plan(charged([summary], costs)).updates[0].rows, costs)
    assert {row.name: bool(np.isnan(row.by_turn).all()) for row in spoilt.rows} == {(0, 0): True, (0, 0, 1): True, (0, 1): False}
