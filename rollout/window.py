"""The groups in flight: how far generation may run ahead of learning.

    fill ──► one task a group (generate, score) ──► take, in the order of submission ──► learn, publish ──► release

A group occupies a slot from its submission until the weights learned from it are published, or until it is finished and not worth
learning. With `size = (max_staleness + 1) * groups_per_step` slots and groups taken in order, no token is ever learned from more than
`max_staleness` steps after the step whose weights sampled it. Groups beyond what a step needs stay in flight for the next one.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from configs.arithmetic import counted
from configs.errors import RunFailed

T = TypeVar("T")


class WindowExhausted(RunFailed):
    """Too many groups in a row carried no signal."""


class GroupWindow(Generic[T]):
    """Groups in flight, `size` at most, handed out in the order in which they were submitted."""

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
    ) -> None:
        """`submit(group_id)` generates and scores one group; `pending` are groups submitted before a restart, still to be taken.

        `keep` decides once, when a group is finished, whether it is worth learning. A group that is not frees its slot at once, so that
        a fresh one replaces it. It counts as pending until its turn comes; then it is rejected and passed to `on_reject`.
        """
        self.tasks, self.submit, self.keep, self.on_reject = tasks, submit, keep, on_reject
        self.next_group = next_group
        self.max_rejected = max_rejected
        self._resubmit = deque(pending)
        self._in_flight: deque[tuple[int, asyncio.Task[tuple[T, bool]]]] = deque()
        self._free = asyncio.Semaphore(size)
        self._room = asyncio.Semaphore(size + max_rejected)  # limits the fresh groups that pile up behind one slow group
        self._taken = 0  # groups taken whose slots are not released
        self._arrived = asyncio.Event()

    @property
    def pending(self) -> list[int]:
        """Groups submitted and not yet taken or rejected, in order."""
        return [group_id for group_id, _ in self._in_flight] + list(self._resubmit)

    async def keep_full(self) -> None:
        """Submit the next group whenever a slot is free; runs until it is cancelled."""
        while True:
            await self._free.acquire()
            await self._room.acquire()
            group_id = self._resubmit.popleft() if self._resubmit else self._next()
            task = self.tasks.create_task(self._run(group_id), name=f"group {group_id}")
            self._in_flight.append((group_id, task))
            self._arrived.set()

    async def take(self, count: int) -> list[T]:
        """The next `count` groups worth learning, in the order of submission; those between them are rejected."""
        taken: list[T] = []
        rejected = 0
        while len(taken) < count:
            while not self._in_flight:
                self._arrived.clear()
                await self._arrived.wait()
            group, kept = await self._in_flight[0][1]
            self._in_flight.popleft()
            self._room.release()
            if kept:
                taken.append(group)
                self._taken += 1
                rejected = 0
                continue
            rejected += 1
            self.on_reject(group)
            if rejected >= self.max_rejected:
                raise WindowExhausted(
                    f"{counted(rejected, 'group')} in a row carried no signal: all responses to a prompt scored alike. "
                    "Make the prompts easier or harder, raise rollout.group_size or rollout.temperature, "
                    "check the checker, or raise rollout.max_refill"
                )
        return taken

    def release(self, count: int) -> None:
        """Free the slots of `count` groups that were taken: the weights learned from them are published.

        ValueError where fewer groups were taken. A slot too many would let tokens grow staler than the bound, unnoticed: a bounded
        semaphore misses it, since the waiting submission takes the first slot before the second is released.
        """
        if not 0 <= count <= self._taken:
            raise ValueError(f"release got {count} groups, but only {self._taken} were taken and not released: release each of them once")
        self._taken -= count
        for _ in range(count):
            self._free.release()

    def cancel(self) -> None:
        """Cancel every group in flight; they stay pending."""
        for _, task in self._in_flight:
            task.cancel()

    def _next(self) -> int:
        self.next_group += 1
        return self.next_group - 1

    async def _run(self, group_id: int) -> tuple[T, bool]:
        group = await self.submit(group_id)
        if not (kept := self.keep(group)):
            self._free.release()  # never taken, so `release` does not count it
        return group, kept
