import asyncio

import pytest

from rollout.window.window import GroupWindow
from tests.rollout.test_window import GROUPS_PER_STEP, Group, Learner, drive, turns


@pytest.mark.parametrize("max_staleness", [0, 1])
def test_more_releases_than_groups_taken_are_refused_and_leave_the_staleness_bound_whole(max_staleness: int):
    learner = Learner(0)

    async def work(window: GroupWindow[Group]) -> None:
        with pytest.raises(ValueError, match=r"release got 1 groups, but only 0 were taken and not released"):
            await window.release(1)
        await window.take(1)
        with pytest.raises(ValueError, match=r"release got 2 groups, but only 1 were taken"):
            await window.release(2)
        with pytest.raises(ValueError, match=r"release got -1 groups"):
            await window.release(-1)
        await window.release(1)
        with pytest.raises(ValueError, match=r"but only 0 were taken"):
            await window.release(1)
        await turns()
        assert len(learner.submitted) == max_staleness + 2, "one fresh group for the one that was released"

    asyncio.run(drive(learner, work, size=max_staleness + 1))


@pytest.mark.parametrize("seed", range(10))
def test_groups_without_signal_never_release_a_slot_twice_after_a_restart_with_pending_groups_either(seed: int):
    learner, size = Learner(seed, kept=0.5), 2 * GROUPS_PER_STEP
    worth: dict[int, bool] = {}

    def keep(group: Group) -> bool:
        return worth.setdefault(group[0], learner.keep(group))

    async def work(window: GroupWindow[Group]) -> None:
        for _ in range(10):
            await turns(200)
            occupied = [group_id for group_id in window.pending if group_id in learner.submitted and worth.get(group_id, True)]
            assert len(occupied) <= size
            await learner.step(window)

    asyncio.run(drive(learner, work, size=size, keep=keep, next_group=40, pending=[31, 35, 36, 38]))
    assert learner.rejected, "the toy must reject groups for this to mean something"
    assert max(learner.staleness) <= 1
