from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.presets import PRESETS, REDUCTIONS, Preset
from configs.schema import Config
from learner.batch.plan import StepPlan, plan_step
from learner.batch.row import MicroBatch, Row
from learner.loss.parts import worth_learning
from rollout.types import GroupSummary
from tests.toys.learner import toy_group
from tests.toys.run import toy_summary

BUDGET = 24


def summaries(seed: int, groups: int, failing: float = 0.2) -> list[GroupSummary]:
    return [GroupSummary.of(toy_group(100 * seed + i, members=1 + (seed + i) % 5, failing=failing)) for i in range(groups)]


def padded(batch: MicroBatch) -> int:
    return len(batch) * (max(r.prompt_tokens for r in batch) + max(r.tokens - r.prompt_tokens for r in batch)) if batch else 0


def real(batch: MicroBatch) -> int:
    return sum(row.tokens for row in batch)


def rows_of(plan: StepPlan) -> dict[tuple[int, int], Row]:
    rows = [row for update in plan.updates for row in update.rows]
    by_name = {(row.group, row.member): row for row in rows}
    assert len(by_name) == len(rows), "a response is planned twice"
    return by_name


every_reduction = pytest.mark.parametrize("preset", [PRESETS["grpo"].replace(reduction=name) for name in REDUCTIONS], ids=REDUCTIONS)
seeds, updates, ranks = st.integers(0, 500), st.integers(1, 3), st.integers(1, 4)
budgets, sizes, switch = st.integers(BUDGET, 200), st.integers(0, 4), st.booleans()


@every_reduction
@given(seed=seeds, updates=updates, size=sizes, ranks=ranks, budget=budgets, overlong_filter=switch)
@settings(max_examples=30, deadline=None)
def test_every_learnable_response_is_planned_exactly_once_in_its_own_update(
    preset: Preset, seed: int, updates: int, size: int, ranks: int, budget: int, overlong_filter: bool
) -> None:
    groups = summaries(seed, size * updates)
    plan = plan_step(
        groups, preset, updates=updates, ranks=ranks, micro_batch_tokens=budget, response_tokens=6, overlong_filter=overlong_filter
    )
    learnable = set()
    for position, group in enumerate(groups):
        survives = ~np.isnan(group.rewards) & ~group.aborted
        if survives.sum() > 1:
            taught = survives & (group.lengths > 0) & ~(group.truncated & overlong_filter)
            learnable |= {(position, int(member)) for member in np.flatnonzero(taught)}
    assert set(rows_of(plan)) == learnable
    assert len(plan.updates) == updates
    for k, update in enumerate(plan.updates):
        assert {row.group // size for row in update.rows} <= {k}
        assert len(update.rows) + update.left_out == sum(len(g.lengths) for g in groups[k * size : (k + 1) * size])


@given(seed=seeds, size=sizes, ranks=ranks, budget=budgets, packed=switch)
@settings(max_examples=60, deadline=None)
def test_ranks_have_equally_many_micro_batches_within_the_budget(seed: int, size: int, ranks: int, budget: int, packed: bool) -> None:
    plan = plan_step(
        summaries(seed, 2 * size), PRESETS["grpo"], updates=2, ranks=ranks, micro_batch_tokens=budget, response_tokens=6, packed=packed
    )
    for update in plan.updates:
        assert len(update.micro_batches) == ranks
        assert len({len(cut) for cut in update.micro_batches}) == 1
        assert len(update.micro_batches[0]) >= 1
        assert all((real(batch) if packed else padded(batch)) <= budget for cut in update.micro_batches for batch in cut)
        loads = [sum(map(real, cut)) for cut in update.micro_batches]
        assert max(loads) - min(loads) <= max((row.tokens for row in update.rows), default=0)
        if packed:  # one more row would not have fitted
            assert all(real(a) + b[0].tokens > budget for cut in update.micro_batches for a, b in pairwise(filter(None, cut)))
    assert [plan.of_rank(0)[k] for k in range(2)] == [update.micro_batches[0] for update in plan.updates]


@every_reduction
@given(seed=seeds, size=sizes)
@settings(max_examples=30, deadline=None)
def test_the_token_weights_of_a_mean_sum_to_one(preset: Preset, seed: int, size: int) -> None:
    plan = plan_step(summaries(seed, 2 * size), preset, updates=2, ranks=2, micro_batch_tokens=BUDGET, response_tokens=6)
    for update in plan.updates:
        lengths = [row.tokens - row.prompt_tokens for row in update.rows]
        whole = {"sequence_sum": sum(lengths) / max(1, len(lengths)), "budget_mean": sum(lengths) / max(1, len(lengths)) / 6}
        total = sum(row.weight * length for row, length in zip(update.rows, lengths, strict=True))
        assert total == pytest.approx(whole.get(preset.reduction, 1.0) if update.rows else 0.0, abs=1e-12)


@every_reduction
@given(seed=seeds, size=sizes, ranks=ranks, budget=budgets)
@settings(max_examples=30, deadline=None)
def test_what_a_response_teaches_does_not_depend_on_how_the_work_is_divided(
    preset: Preset, seed: int, size: int, ranks: int, budget: int
) -> None:
    groups = summaries(seed, size)
    divided = plan_step(groups, preset, updates=1, ranks=ranks, micro_batch_tokens=budget, response_tokens=6)
    whole = plan_step(groups, preset, updates=1, ranks=1, micro_batch_tokens=10_000, response_tokens=6)
    assert rows_of(divided) == rows_of(whole)
    assert divided == plan_step(groups, preset, updates=1, ranks=ranks, micro_batch_tokens=budget, response_tokens=6)


def test_failed_and_aborted_responses_leave_baseline_and_loss() -> None:
    group = replace(
        GroupSummary.of(toy_group(1, members=4)),
        lengths=np.array([3, 4, 5, 6]),
        sampled=np.array([3, 4, 5, 6]),
        rewards=np.array([1.0, np.nan, 0.0, 1.0]),
        aborted=np.array([False, False, False, True]),
        truncated=np.zeros(4, np.bool_),
    )
    rows = rows_of(plan_step([group], PRESETS["dapo"], updates=1, ranks=1, micro_batch_tokens=100, response_tokens=6))
    assert {key: row.weight for key, row in rows.items()} == {(0, 0): 1 / 8, (0, 2): 1 / 8}
    assert [rows[0, 0].advantage, rows[0, 2].advantage] == pytest.approx([0.7071057811879616, -0.7071057811879616])


def test_filtered_truncated_responses_stay_in_the_baseline_but_not_in_the_loss() -> None:
    group = replace(
        GroupSummary.of(toy_group(1, members=3)),
        lengths=np.array([2, 2, 6]),
        sampled=np.array([2, 2, 6]),
        rewards=np.array([1.0, 0.0, 0.5]),
        truncated=np.array([False, False, True]),
        aborted=np.zeros(3, np.bool_),
    )
    preset = PRESETS["dapo"].replace(advantage="centred")
    kept, filtered = (
        rows_of(plan_step([group], preset, updates=1, ranks=1, micro_batch_tokens=100, response_tokens=6, overlong_filter=f))
        for f in (False, True)
    )
    assert [(row.advantage, row.weight) for row in kept.values()] == [(0.0, 0.1), (0.5, 0.1), (-0.5, 0.1)]
    assert [(row.advantage, row.weight) for row in filtered.values()] == [(0.5, 0.25), (-0.5, 0.25)]


def test_an_all_equal_group_stays_with_advantage_zero() -> None:
    group = replace(
        GroupSummary.of(toy_group(1, members=3)),
        lengths=np.array([2, 2, 2]),
        sampled=np.array([2, 2, 2]),
        rewards=np.full(3, 0.7),
        truncated=np.zeros(3, np.bool_),
        aborted=np.zeros(3, np.bool_),
    )
    rows = rows_of(plan_step([group], PRESETS["grpo"], updates=1, ranks=1, micro_batch_tokens=100, response_tokens=6))
    assert [row.advantage for row in rows.values()] == [0.0, 0.0, 0.0]


def test_an_update_without_rows_has_one_empty_micro_batch_on_every_rank() -> None:
    plan = plan_step(summaries(3, 2, failing=1.0), PRESETS["grpo"], updates=2, ranks=3, micro_batch_tokens=10, response_tokens=6)
    assert [update.micro_batches for update in plan.updates] == [(((),), ((),), ((),))] * 2


def test_groups_that_do_not_divide_into_updates_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 3 groups for 2 updates, need a multiple: change rollout\.groups_per_step"):
        plan_step(summaries(0, 3), PRESETS["grpo"], updates=2, ranks=1, micro_batch_tokens=100, response_tokens=6)


def test_a_response_above_the_budget_is_refused_with_the_number_to_set() -> None:
    group = replace(
        GroupSummary.of(toy_group(1, members=2)),
        prompt_tokens=4,
        lengths=np.array([3, 9]),
        sampled=np.array([3, 9]),
        rewards=np.array([0.0, 1.0]),
        aborted=np.zeros(2, np.bool_),
    )
    with pytest.raises(ValueError, match=r"has 13 tokens .* may hold 12: set learner\.micro_batch_tokens to at least 13"):
        plan_step([group], PRESETS["grpo"], updates=1, ranks=1, micro_batch_tokens=12, response_tokens=6)


def test_advantages_that_look_beyond_the_group_see_the_whole_step() -> None:
    groups = summaries(5, 4, failing=0.0)
    preset = PRESETS["reinforce_pp"]
    one, two = (plan_step(groups, preset, updates=n, ranks=1, micro_batch_tokens=1000, response_tokens=6) for n in (1, 2))
    assert {key: row.advantage for key, row in rows_of(one).items()} == {key: row.advantage for key, row in rows_of(two).items()}
    tokens = np.array([row.tokens - row.prompt_tokens for row in rows_of(one).values()])
    advantages = np.array([row.advantage for row in rows_of(one).values()])
    assert np.average(advantages, weights=tokens) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("preset", ["gdpo", "opo"])
def test_a_filtered_response_still_counts_in_what_it_is_compared_with(preset: str) -> None:
    group = replace(
        GroupSummary.of(toy_group(1, members=3)),
        lengths=np.array([2, 3, 5]),
        sampled=np.array([2, 3, 5]),
        rewards=np.array([1.0, 1.0, 0.0]),
        correct=np.array([1.0, 1.0, 0.0]),
        aborted=np.zeros(3, np.bool_),
        truncated=np.array([False, False, True]),
    )
    kept, filtered = (
        rows_of(plan_step([group], PRESETS[preset], updates=1, ranks=2, micro_batch_tokens=100, response_tokens=6, overlong_filter=f))
        for f in (False, True)
    )
    assert {member for _, member in filtered} == {0, 1}
    assert all(filtered[place].advantage == kept[place].advantage > 0 for place in filtered)
    if preset == "opo":
        assert kept[0, 0].advantage == pytest.approx(0.5)


def test_dynamic_sampling_accepts_what_any_weighted_part_tells_apart_where_parts_are_compared(tmp_path: Path) -> None:
    base = {"model": {"path": "m"}, "data": {"train": "t"}, "run": {"dir": str(tmp_path)}}
    reward = {"overlong_cache": 2, "parts": {"form": {"checker": "tags", "weight": 0.5}, "idle": {"checker": "tags", "weight": 0}}}
    parts = {name: np.array([0.0, 0.0]) for name in ("form", "idle", "overlong")}

    def accepted(preset: str, **varied: list[float]) -> bool:
        config = Config.model_validate({**base, "reward": reward, "objective": {"preset": preset}})
        return worth_learning(config, toy_summary(0, [1.0, 1.0], parts=parts | {name: np.array(v) for name, v in varied.items()}))

    assert accepted("gdpo", form=[0.0, 1.0])
    assert not accepted("grpo", form=[0.0, 1.0])
    assert not accepted("gdpo", idle=[0.0, 1.0])
    assert not accepted("gdpo", overlong=[0.0, -1.0])


def test_the_budget_of_a_response_scales_the_weights_of_dr_grpo() -> None:
    short, long = (
        rows_of(plan_step(summaries(5, 2), PRESETS["dr_grpo"], updates=1, ranks=1, micro_batch_tokens=1000, response_tokens=n))
        for n in (6, 12)
    )
    assert [row.weight for row in short.values()] == [2 * row.weight for row in long.values()]


def test_a_response_without_a_group_is_learned_only_where_nothing_is_compared() -> None:
    lone = [GroupSummary.of(toy_group(seed, members=1)) for seed in (1, 3, 4)]
    answered = [(position, 0) for position, summary in enumerate(lone) if summary.lengths[0]]
    assert answered
    for advantage, planned in (("none", answered), ("standardised", [])):
        preset = PRESETS["grpo"].replace(advantage=advantage, reduction="token_mean")
        plan = plan_step(lone, preset, updates=1, ranks=1, micro_batch_tokens=BUDGET, response_tokens=6)
        assert sorted(rows_of(plan)) == planned
        assert all(row.advantage == 0 for row in plan.updates[0].rows)
