"""A window whose bound on staleness leaves slack: finished groups first, stragglers later, and never too late. Time is virtual."""

import asyncio
import cProfile
import pstats
import random
from dataclasses import dataclass, field

import pytest

from benchmarks.faults.clock import run_virtually
from benchmarks.stragglers import course, trace
from rollout.window.window import GroupWindow

GROUPS = 4


@dataclass
class Seen:
    """The groups of a run in the order in which they were settled, and the staleness of each learned one."""

    learned: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    staleness: list[int] = field(default_factory=list)
    pending: list[int] = field(default_factory=list)
    waited_s: list[float] = field(default_factory=list)  # of each step, for its groups
    next_group: int = 0


class CountedAnew(GroupWindow[tuple[int, int, bool]]):
    """A window that counts what is due from every group in flight, and compares."""

    def _due(self, count: int, bound: int) -> int:
        due = seen = 0
        groups = list(self._in_flight.values())
        for place, group in enumerate(groups):
            seen += not (group.task.done() and not group.task.result()[1])
            if place + 1 == len(groups) or groups[place + 1].version != group.version:
                due = max(due, seen - (bound - (self._version - group.version)) * count)
        assert super()._due(count, bound) == due
        return due


def run(
    seed: int,
    ahead: int,
    bound: int,
    *,
    steps: int = 25,
    kept: float = 1.0,
    slow: dict[int, float] | None = None,
    kind: type[GroupWindow[tuple[int, int, bool]]] = GroupWindow,
    groups: int = GROUPS,
) -> Seen:
    """A run of `steps` steps; a group takes a random time, or the one that `slow` gives it."""
    seen, draw = Seen(), random.Random(seed)

    async def main() -> None:
        version, loop = 0, asyncio.get_running_loop()

        async def submit(group_id: int) -> tuple[int, int, bool]:
            await asyncio.sleep(draw.choice([0.0, 0.1, 1.0]))  # an engine may queue a group: its first token comes later
            began = version
            await asyncio.sleep((slow or {}).get(group_id, draw.lognormvariate(0, 1)))
            return group_id, began, draw.random() < kept

        async with asyncio.TaskGroup() as tasks:
            window = kind(
                tasks,
                size=(ahead + 1) * groups,
                submit=submit,
                keep=lambda group: group[2],
                on_reject=lambda group: seen.rejected.append(group[0]),
                max_rejected=1000,
                max_staleness=bound if bound > ahead else None,
                clock=loop.time,
            )
            filling = tasks.create_task(window.keep_full())
            for _ in range(steps):
                before = loop.time()
                taken = await window.take(groups)
                seen.waited_s.append(loop.time() - before)
                seen.learned += [group_id for group_id, *_ in taken]
                seen.staleness += [version - began for _, began, _ in taken]
                await asyncio.sleep(draw.random())
                version += 1
                window.published()
                await window.release(groups)
                assert sum(window.occupancy.counts.values()) == (ahead + 1) * groups
                assert min(window.occupancy.counts.values()) >= 0
            filling.cancel()
            window.cancel()
            seen.pending, seen.next_group = window.pending, window.next_group

    run_virtually(main)
    return seen


@pytest.mark.parametrize("kept", [1.0, 0.4])
@pytest.mark.parametrize(("ahead", "bound"), [(1, 2), (1, 4), (2, 3), (3, 4)])
def test_slack_bends_the_order_and_never_the_bound(ahead: int, bound: int, kept: float) -> None:
    seen = [run(seed, ahead, bound, kept=kept) for seed in range(12)]
    assert max(stale for one in seen for stale in one.staleness) == bound, "the slack must be used for this to mean something"
    assert any(one.learned != sorted(one.learned) for one in seen)
    for one in seen:
        assert sorted(one.learned + one.rejected + one.pending) == list(range(one.next_group)), "each group once"


@pytest.mark.parametrize("kept", [1.0, 0.4])
def test_what_is_due_follows_from_the_groups_in_flight(kept: float) -> None:
    for seed in range(4):
        run(seed, 1, 3, kept=kept, kind=CountedAnew)


def test_a_group_costs_the_same_however_many_are_in_flight() -> None:
    calls = []
    for groups in (60, 240):
        with cProfile.Profile() as profile:
            run(0, 1, 3, steps=4, groups=groups)
        calls.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
    assert calls[1] / calls[0] < 5, "four times the groups, four times the work"


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_without_slack_the_order_is_that_of_submission(ahead: int) -> None:
    seen = run(3, ahead, ahead, kept=0.5)
    assert seen.learned == sorted(seen.learned)
    assert seen.rejected == sorted(seen.rejected)
    assert max(seen.staleness) <= ahead


def test_a_straggler_is_waited_for_in_the_last_step_that_may_learn_it_and_not_before() -> None:
    seen = run(0, 1, 4, slow={5: 1000.0})
    place = seen.learned.index(5) // GROUPS
    assert seen.staleness[seen.learned.index(5)] == 4
    assert seen.waited_s[place] > 900
    assert max(seen.waited_s[:place]) < 20
    strict = run(0, 1, 1, slow={5: 1000.0})
    assert strict.learned.index(5) // GROUPS == 1


def test_many_stragglers_of_one_moment_are_spread_over_the_steps_that_can_hold_them() -> None:
    slow = dict.fromkeys(range(8, 8 + 2 * GROUPS), 50.0)  # two steps' worth, submitted together
    seen = run(1, 1, 3, slow=slow)
    assert max(seen.staleness) <= 3
    assert set(slow) <= set(seen.learned)


def test_long_tails_cost_at_most_the_bound_and_much_less_than_waiting_in_turn() -> None:
    lengths = trace(30)
    synchronous, slack = course(0, 0, lengths, 30), course(1, 4, lengths, 30)
    assert slack.step_s <= 1.1 * slack.bound_s
    assert synchronous.step_s / slack.step_s >= 1.5
    assert slack.stalest <= 4
    assert sum(slack.shares.values()) == pytest.approx(1.0)
    assert slack.shares["generating"] > 1.5 * synchronous.shares["generating"]
