"""The groups in flight: how far generation may run ahead of learning.

    fill ──► one task a group (generate, score) ──► take, in the order of submission ──► learn, publish ──► release

A slot is held from submission until the weights learned from its group are out, or until the group is rejected. With
`size = (max_staleness + 1) * groups_per_step` slots and groups taken in order, no token is ever learned from more than
`max_staleness` steps after the step whose weights sampled it.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class WindowExhausted(RuntimeError):
    """Too many groups in a row carried no signal."""


class GroupWindow(Generic[T]):
    """Groups in flight, `size` at most, handed out in the order in which they were submitted."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        *,
        size: int,
        submit: Callable[[int], Awaitable[T]],
        next_group: int = 0,
        pending: Sequence[int] = (),
        max_rejected: int,
    ) -> None:
        """`submit(group_id)` generates and scores one group; `pending` are groups submitted before a restart, still to be taken."""
        self.tasks, self.submit = tasks, submit
        self.next_group = next_group
        self.max_rejected = max_rejected
        self._resubmit = deque(pending)
        self._in_flight: deque[tuple[int, asyncio.Task[T]]] = deque()
        self._free = asyncio.Semaphore(size)
        self._arrived = asyncio.Event()

    @property
    def pending(self) -> list[int]:
        """Groups submitted and not yet taken or rejected, in order."""
        return [group_id for group_id, _ in self._in_flight] + list(self._resubmit)

    async def keep_full(self) -> None:
        """Submit the next group whenever a slot is free; runs until it is cancelled."""
        while True:
            await self._free.acquire()
            group_id = self._resubmit.popleft() if self._resubmit else self._next()
            task = self.tasks.create_task(self._run(group_id), name=f"group {group_id}")
            self._in_flight.append((group_id, task))
            self._arrived.set()

    async def take(self, count: int, keep: Callable[[T], bool], on_reject: Callable[[T], None]) -> list[T]:
        """The next `count` groups worth learning from; others free their slot at once, so fresh ones replace them."""
        taken: list[T] = []
        rejected = 0
        while len(taken) < count:
            while not self._in_flight:
                self._arrived.clear()
                await self._arrived.wait()
            group = await self._in_flight[0][1]
            self._in_flight.popleft()
            if keep(group):
                taken.append(group)
                rejected = 0
                continue
            rejected += 1
            on_reject(group)
            self.release(1)
            if rejected >= self.max_rejected:
                raise WindowExhausted(
                    f"{rejected} groups in a row carried no signal: all responses to a prompt scored alike. Make the prompts easier or "
                    "harder, raise rollout.group_size or rollout.temperature, check the checker, or raise rollout.max_refill"
                )
        return taken

    def release(self, count: int) -> None:
        """Free the slots of `count` taken groups: the weights learned from them are out."""
        for _ in range(count):
            self._free.release()

    def cancel(self) -> None:
        """Give up every group in flight; they stay pending."""
        for _, task in self._in_flight:
            task.cancel()

    def _next(self) -> int:
        self.next_group += 1
        return self.next_group - 1

    async def _run(self, group_id: int) -> T:
        return await self.submit(group_id)
