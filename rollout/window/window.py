"""The groups in flight: how far generation may run ahead of learning.

    fill ──► one task a group (generate, score) ──► take ──► learn, publish ──► release

A group occupies a slot from its submission until the weights learned from it are published, or until it is finished and not worth
learning. With `(ahead + 1) * groups_per_step` slots generation runs `ahead` steps ahead of learning.

No token is ever learned more than `max_staleness` steps after the step whose weights sampled it. Where `ahead` equals that bound, groups
are taken in the order of submission. Where it is smaller, finished groups are taken first, and a straggler may come later: the oldest
groups are waited for only once the steps that are left within their bound could no longer hold them.
"""

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Generic, TypeVar

from configs.arithmetic import counted
from configs.errors import RunFailed
from rollout.window.occupancy import Occupancy, State

T = TypeVar("T")
TURNS = 3  # of the event loop: `keep_full` wakes, its tasks begin, and what they submit in one turn goes out together


class WindowExhausted(RunFailed):
    """Too many groups in a row carried no signal."""


@dataclass(frozen=True, slots=True)
class InFlight(Generic[T]):
    """A submitted group, its place in the order of submission, and the version of the weights that were published then."""

    group_id: int
    place: int
    version: int
    task: asyncio.Task[tuple[T, bool]]


class GroupWindow(Generic[T]):
    """Groups in flight, `size` at most, handed out before any of them grows too stale."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        size: int,
        submit: Callable[[int], Awaitable[T]],
        keep: Callable[[T], bool],
        on_reject: Callable[[T], None],
        next_group: int = 0,
        pending: Sequence[int] = (),
        max_rejected: int,
        max_staleness: int | None = None,
        spent: Callable[[T], Mapping[State, float]] = lambda _: {},
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`submit(group_id)` generates and scores one group; `pending` are groups submitted before a restart, still to be taken.

        `keep` decides once, when a group is finished, whether it is worth learning. A group that is not frees its slot at once, so that
        a fresh one replaces it. It counts as pending until its turn comes; then it is rejected and passed to `on_reject`.
        `max_staleness` is the bound where it leaves slack for stragglers; None keeps the order of submission. `spent` gives the
        seconds of a finished group in states that only its engine knows.
        """
        self.tasks, self.submit, self.keep, self.on_reject = tasks, submit, keep, on_reject
        self.next_group = next_group
        self.max_rejected, self.max_staleness, self.spent = max_rejected, max_staleness, spent
        self.occupancy = Occupancy(size, clock)
        self._version = 0  # publishes that slots were released for, counted from this window's beginning
        self._resubmit = deque(pending)
        self._places = count()
        self._in_flight: OrderedDict[int, InFlight[T]] = OrderedDict()  # by place; a dict would walk over what was taken from its front
        self._finished: list[int] = []  # a heap of places, where finished groups may be taken out of order
        self._to_learn: Counter[int] = Counter()  # groups in flight that may be learned, by version, oldest first
        self._free = asyncio.Semaphore(size)
        self._room = asyncio.Semaphore(size + max_rejected)  # limits the fresh groups that pile up behind one slow group
        self._taken = 0  # groups taken whose slots are not released
        self._rejected_in_a_row = 0
        self._changed = asyncio.Event()  # a group that may be taken is finished

    @property
    def pending(self) -> list[int]:
        """Groups submitted and not yet taken or rejected, in order."""
        return [group.group_id for group in self._in_flight.values()] + list(self._resubmit)

    async def keep_full(self) -> None:
        """Submit the next group whenever a slot is free; runs until it is cancelled."""
        while True:
            await self._free.acquire()
            await self._room.acquire()
            group_id = self._resubmit.popleft() if self._resubmit else self._next()
            self.occupancy.move("free", "generating")
            place = next(self._places)
            task = self.tasks.create_task(self._run(group_id, self._version), name=f"group {group_id}")
            task.add_done_callback(partial(self._came, place))
            self._in_flight[place] = InFlight(group_id, place, self._version, task)
            self._to_learn[self._version] += 1

    async def take(self, count: int) -> list[T]:
        """The next `count` groups worth learning; WindowExhausted after `max_rejected` groups in a row without signal.

        `count` is the same in every step: with it the window knows how many groups the steps to come can hold.
        """
        taken: list[T] = []
        self._rejected_in_a_row = 0
        while len(taken) < count:
            in_order = self.max_staleness is None or self._due(count, self.max_staleness) >= count - len(taken)
            finished = self._oldest() if in_order else self._first_finished()
            if finished is None:
                self._changed.clear()
                await self._changed.wait()
            elif (group := self._settle(finished)) is not None:
                taken.append(group[0])
        return taken

    def _oldest(self) -> InFlight[T] | None:
        """The group that was submitted first, if it is finished."""
        oldest = next(iter(self._in_flight.values()), None)
        return oldest if oldest is not None and oldest.task.done() else None

    def _first_finished(self) -> InFlight[T] | None:
        """Of the finished groups the one that was submitted first."""
        return self._in_flight[self._finished[0]] if self._finished else None

    def _due(self, count: int, bound: int) -> int:
        """How many of the oldest groups this step must take, since the later steps within their bound have no room for them.

        A group of `age` publishes can be learned in this step or in one of the next `bound - age`.
        """
        due = seen = 0
        for version, groups in self._to_learn.items():
            seen += groups
            due = max(due, seen - (bound - (self._version - version)) * count)
        return due

    def _came(self, place: int, _: asyncio.Task[tuple[T, bool]]) -> None:
        """A group is finished, or its task has ended in another way."""
        if self.max_staleness is None:
            if place == next(iter(self._in_flight), place):  # the others are not looked at before it is taken
                self._changed.set()
            return
        if place in self._in_flight:
            heappush(self._finished, place)
        self._changed.set()

    def _learn_one_less(self, version: int) -> None:
        """A group of this version was taken, or will not be learned."""
        self._to_learn[version] -= 1
        if not self._to_learn[version]:
            del self._to_learn[version]

    def _settle(self, found: InFlight[T]) -> tuple[T] | None:
        """Take a finished group out of the window: the group, or None if it is rejected. Raises what its task raised."""
        group, kept = found.task.result()
        del self._in_flight[found.place]
        while self._finished and self._finished[0] not in self._in_flight:
            heappop(self._finished)
        self._room.release()
        if kept:
            self._learn_one_less(found.version)
            self._taken += 1
            self._rejected_in_a_row = 0
            self.occupancy.move("finished", "waiting")
            return (group,)
        self._rejected_in_a_row += 1
        self.on_reject(group)
        if self._rejected_in_a_row >= self.max_rejected:
            raise WindowExhausted(
                f"{counted(self._rejected_in_a_row, 'group')} in a row carried no signal: all responses to a prompt scored alike. "
                "Make the prompts easier or harder, raise rollout.group_size or rollout.temperature, "
                "check the checker, or raise rollout.max_refill"
            )
        return None

    def published(self) -> None:
        """New weights are out: what is submitted from now on is one publish younger."""
        self._version += 1

    async def release(self, count: int) -> None:
        """Free the slots of `count` groups that were taken, the weights learned from them are published; submit what fits into them.

        The caller goes on only when the fresh groups have begun, so that engines work while it looks at the step.

        ValueError where fewer groups were taken. A slot too many would let tokens grow staler than the bound, unnoticed: a bounded
        semaphore misses it, since the waiting submission takes the first slot before the second is released.
        """
        if not 0 <= count <= self._taken:
            raise ValueError(f"release got {count} groups, but only {self._taken} were taken and not released: release each of them once")
        self._taken -= count
        for _ in range(count):
            self.occupancy.move("waiting", "free")
            self._free.release()
        for _ in range(TURNS):
            await asyncio.sleep(0)

    def cancel(self) -> None:
        """Cancel every group in flight; they stay pending."""
        for group in self._in_flight.values():
            group.task.cancel()

    def _next(self) -> int:
        self.next_group += 1
        return self.next_group - 1

    async def _run(self, group_id: int, version: int) -> tuple[T, bool]:
        group = await self.submit(group_id)
        self.occupancy.spent(self.spent(group))
        if kept := self.keep(group):
            self.occupancy.move("generating", "finished")
        else:
            self._learn_one_less(version)
            self.occupancy.move("generating", "free")
            self._free.release()  # never taken, so `release` does not count it
        return group, kept
