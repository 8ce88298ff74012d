import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from rollout.window.window import GroupWindow, WindowExhausted

GROUPS_PER_STEP = 3
Group = tuple[int, int]  # id, and the version whose weights sampled its first token


class Learner:
    """Takes groups from a window and raises the version that groups are generated with, as the controller does."""

    def __init__(self, seed: int, *, kept: float = 1.0) -> None:
        self.random = random.Random(seed)
        self.kept = kept
        self.version = 0
        self.submitted: list[int] = []
        self.finished: list[int] = []
        self.learned: list[int] = []
        self.rejected: list[int] = []
        self.staleness: list[int] = []

    async def generate(self, group_id: int) -> Group:
        self.submitted.append(group_id)
        oldest = self.version
        for _ in range(self.random.choice([0, 1, 3, 20])):
            await asyncio.sleep(0)
        self.finished.append(group_id)
        return group_id, oldest

    def keep(self, group: Group) -> bool:
        return self.random.random() < self.kept

    def reject(self, group: Group) -> None:
        self.rejected.append(group[0])

    async def step(self, window: GroupWindow[Group]) -> None:
        groups = await window.take(GROUPS_PER_STEP)
        self.learned += [group_id for group_id, _ in groups]
        self.staleness += [self.version - oldest for _, oldest in groups]
        for _ in range(self.random.choice([0, 2, 10])):  # learning and publishing take time, while generation runs on
            await asyncio.sleep(0)
        self.version += 1
        await window.release(GROUPS_PER_STEP)


async def drive(learner: Learner, work: Callable[[GroupWindow[Group]], Awaitable[None]], **options: object) -> GroupWindow[Group]:
    """Run `work` beside a window that is kept full, then end both, as the controller does."""
    of_learner = {"submit": learner.generate, "keep": learner.keep, "on_reject": learner.reject}
    async with asyncio.TaskGroup() as tasks:
        window: GroupWindow[Group] = GroupWindow(tasks, **{"size": GROUPS_PER_STEP, "max_rejected": 1000} | of_learner | options)
        filling = tasks.create_task(window.keep_full())
        await work(window)
        filling.cancel()
        window.cancel()
    return window


def learn(learner: Learner, steps: int, **options: object) -> GroupWindow[Group]:
    async def work(window: GroupWindow[Group]) -> None:
        for _ in range(steps):
            await learner.step(window)

    return asyncio.run(drive(learner, work, **options))


async def turns(count: int = 60) -> None:
    """Let everything go on that can."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("max_staleness", [0, 1, 2, 4])
@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_no_token_is_learned_staler_than_the_bound_and_the_bound_is_used(max_staleness: int, kept: float):
    observed = []
    for seed in range(20):
        learner = Learner(seed, kept=kept)
        learn(learner, 12, size=(max_staleness + 1) * GROUPS_PER_STEP)
        observed.append(max(learner.staleness))
    assert max(observed) == max_staleness


@pytest.mark.parametrize("seed", range(20))
def test_every_group_is_taken_once_in_submission_order_however_long_each_takes(seed: int):
    learner = Learner(seed, kept=0.6)
    window = learn(learner, 10, size=9)
    settled = sorted(learner.learned + learner.rejected)
    assert learner.learned == sorted(learner.learned)
    assert learner.rejected == sorted(learner.rejected)
    assert settled + window.pending == list(range(window.next_group))
    assert learner.finished != sorted(learner.finished), "the toy must finish groups out of order for this to mean something"


def test_a_window_never_holds_more_groups_than_it_has_slots():
    learner = Learner(0)

    async def work(window: GroupWindow[Group]) -> None:
        await turns()
        assert learner.submitted == list(range(6))
        await window.take(6)
        await turns()
        assert len(learner.submitted) == 6, "taken groups hold their slots until the weights are out"
        await window.release(2)
        await turns()
        assert len(learner.submitted) == 8

    asyncio.run(drive(learner, work, size=6))


def test_fresh_groups_have_begun_when_their_slots_are_released():
    async def work(window: GroupWindow[Group]) -> None:
        await window.take(GROUPS_PER_STEP)
        before = len(learner.submitted)
        await window.release(GROUPS_PER_STEP)
        assert len(learner.submitted) == before + GROUPS_PER_STEP

    learner = Learner(0)
    asyncio.run(drive(learner, work))


def test_a_rejected_group_frees_its_slot_before_any_release():
    learner = Learner(0)
    kept: list[Group] = []

    async def work(window: GroupWindow[Group]) -> None:
        kept.extend(await window.take(2))

    asyncio.run(drive(learner, work, size=2, keep=lambda group: group[0] % 3 == 2))
    assert [group_id for group_id, _ in kept] == [2, 5]
    assert learner.rejected == [0, 1, 3, 4]


def first_group_after(slow: asyncio.Event, learner: Learner) -> Callable[[int], Awaitable[Group]]:
    """Generate group 0 only once `slow` is set."""

    async def generate(group_id: int) -> Group:
        if group_id == 0:
            await slow.wait()
        return await learner.generate(group_id)

    return generate


def kept_by_its_number(group: Group) -> bool:
    return group[0] * 7 % 5 < 3


def test_a_group_without_signal_frees_its_slot_when_it_is_finished_and_is_rejected_when_its_turn_comes():
    learner, slow = Learner(0), asyncio.Event()

    async def work(window: GroupWindow[Group]) -> None:
        await turns()
        assert learner.submitted == [1, 2, 3], "1 and 2 are finished and carry nothing; 0 and 3 hold the slots"
        assert (learner.rejected, window.pending) == ([], [0, 1, 2, 3])
        slow.set()
        assert [group_id for group_id, _ in await window.take(2)] == [0, 3]
        assert (learner.rejected, window.pending) == ([1, 2], [])

    asyncio.run(drive(learner, work, size=2, submit=first_group_after(slow, learner), keep=lambda group: group[0] % 3 == 0))


def test_one_slow_group_has_no_endless_row_of_fresh_ones_wait_behind_it():
    learner, slow = Learner(0), asyncio.Event()

    async def work(window: GroupWindow[Group]) -> None:
        await turns(1000)
        assert window.pending == list(range(3 + 5))
        slow.set()
        assert [group_id for group_id, _ in await window.take(3)] == [0, 4, 9]

    asyncio.run(
        drive(learner, work, size=3, max_rejected=5, submit=first_group_after(slow, learner), keep=lambda group: group[0] in (0, 4, 9))
    )
    assert learner.rejected == [1, 2, 3, 5, 6, 7, 8]


def test_without_staleness_the_groups_of_each_step_do_not_depend_on_how_long_any_takes():
    expected = [group_id for group_id in range(100) if kept_by_its_number((group_id, 0))][: 12 * GROUPS_PER_STEP]
    for seed in range(20):
        learner = Learner(seed)
        learn(learner, 12, keep=kept_by_its_number)
        assert learner.learned == expected
        assert sorted(learner.learned + learner.rejected) == list(range(expected[-1] + 1))


@pytest.mark.parametrize("seed", range(10))
def test_finished_groups_beyond_what_a_step_needs_are_learned_first_in_the_next(seed: int):
    learner, size = Learner(seed), 3 * GROUPS_PER_STEP

    async def work(window: GroupWindow[Group]) -> None:
        for _ in range(6):
            await turns(200)  # generation runs ahead as far as it may
            finished = [group_id for group_id in window.pending if group_id in learner.finished and kept_by_its_number((group_id, 0))]
            assert len(finished) == size, "every slot is held by a group that is worth learning"
            begun = len(learner.submitted)
            learner.learned += [group_id for group_id, _ in await window.take(GROUPS_PER_STEP)]
            assert learner.learned[-GROUPS_PER_STEP:] == finished[:GROUPS_PER_STEP], "what was finished is taken, oldest first"
            assert len(learner.submitted) == begun, "and nothing need be generated for it"
            assert window.pending[-1] == window.next_group - 1
            assert sorted(learner.learned + learner.rejected + window.pending) == list(range(window.next_group)), "no group is thrown away"
            await window.release(GROUPS_PER_STEP)

    asyncio.run(drive(learner, work, size=size, keep=kept_by_its_number))
    assert len(learner.learned) == 6 * GROUPS_PER_STEP


def test_too_many_rejected_groups_in_a_row_stop_the_run_and_say_what_to_change():
    learner = Learner(0, kept=0.0)
    with pytest.raises(BaseExceptionGroup) as stopped:
        learn(learner, 1, max_rejected=7)
    (cause,) = stopped.value.exceptions
    assert isinstance(cause, WindowExhausted)
    assert str(cause).startswith("7 groups in a row")
    assert "rollout.max_refill" in str(cause)
    assert learner.rejected == list(range(7))


def test_a_kept_group_begins_the_count_of_rejected_ones_anew():
    learner = Learner(0)

    async def work(window: GroupWindow[Group]) -> None:
        await window.take(3)

    asyncio.run(drive(learner, work, max_rejected=5, keep=lambda group: group[0] % 5 == 4))
    assert len(learner.rejected) == 12


def test_pending_groups_of_an_earlier_attempt_come_first_and_in_order():
    learner = Learner(3)
    window = learn(learner, 3, next_group=40, pending=[31, 35, 36, 38], size=2 * GROUPS_PER_STEP)
    assert learner.learned == [31, 35, 36, 38, 40, 41, 42, 43, 44]
    assert window.pending == list(range(45, window.next_group))


def test_groups_stay_pending_while_they_wait_for_a_slot_after_a_restart():
    async def look() -> list[int]:
        async with asyncio.TaskGroup() as tasks:
            toy, place = Learner(0), {"next_group": 9, "pending": [4, 5, 7]}
            window = GroupWindow(tasks, size=2, submit=toy.generate, keep=toy.keep, on_reject=toy.reject, max_rejected=1, **place)
            before = window.pending
            filling = tasks.create_task(window.keep_full())
            await turns(5)
            assert window.pending == before
            filling.cancel()
            window.cancel()
        return before

    assert asyncio.run(look()) == [4, 5, 7]


@pytest.mark.parametrize("failing", [0, 2])
def test_a_failing_group_ends_everything_with_its_cause(failing: int):
    learner = Learner(0)

    async def generate(group_id: int) -> Group:
        if group_id == failing:
            raise ValueError(f"group {group_id} broke")
        await asyncio.sleep(3600)
        return await learner.generate(group_id)

    async def work(window: GroupWindow[Group]) -> None:
        await learner.step(window)

    with pytest.raises(BaseExceptionGroup) as stopped:
        asyncio.run(asyncio.wait_for(drive(learner, work, submit=generate), 5))
    assert {str(error) for error in stopped.value.exceptions} == {f"group {failing} broke"}
    assert learner.learned == []


def test_cancelling_leaves_no_task_running_and_every_unlearned_group_pending():
    learner = Learner(0)

    async def hang_from_three(group_id: int) -> Group:
        if group_id >= 3:
            await asyncio.sleep(3600)
        return await learner.generate(group_id)

    async def run() -> GroupWindow[Group]:
        async with asyncio.timeout(5):
            window = await drive(learner, learner.step, size=9, submit=hang_from_three)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return window

    window = asyncio.run(run())
    assert learner.learned == [0, 1, 2]
    assert window.pending == list(range(3, window.next_group))
