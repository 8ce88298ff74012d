"""A pool of processes that turns responses into verdicts, even where checkers hang, crash or fill the memory.

```
async with RewardPool(workers=2, timeout_s=5.0, memory_mb=4096, warm=["math"]) as pool:
    verdicts = await pool.score([Item(checker="math", response=r"\\boxed{42}", reference="42")])
```

Data flow: `score` queues items (reward.workers.task_queue) → one thread gives them to workers in chunks (reward.workers.supervisor) → a
process scores them one by one (reward.workers.worker_main) → the caller's future is filled with its last verdict. Nobody waits for ever:
an item has `timeout_s`, a start and an import have their own limit, and a pool that cannot start workers fails every caller. Nobody waits
behind an item that hangs: it continues aside, and another worker takes its place.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Self

from reward.programs.limits import CodeLimits
from reward.workers.supervisor import Supervisor
from reward.workers.tasks import Item
from rollout.types import Verdict

__all__ = ["Item", "RewardPool"]

CLOSE_S = 15.0


class RewardPool:
    """Scores responses in supervised processes. A late one is killed, a dead one replaced; neither ever gives a reward of 0.

    `score` may be awaited by many callers at once, on any event loop of any thread: the pool has a thread of its own and belongs to
    no loop. So it can be made in a Ray actor's `__init__` and used in its async methods. It cannot be pickled: make it where it is used.

    timeout_s is the longest one item may take, not counting the time it waits for a core; memory_mb the address space of one worker;
    warm the checkers to import at the start; limits the limits of programs for the checker "code"; max_waiting how many items may wait for
    a worker before `score` waits to add more. on_quarantine is called, on the pool's thread, with every item that killed two workers, and
    how it did; on_output with everything that workers print. They must be quick, and an exception that they raise closes the pool.
    """

    def __init__(
        self,
        *,
        workers: int,
        timeout_s: float,
        memory_mb: int,
        warm: Sequence[str] = (),
        limits: CodeLimits | None = None,
        max_waiting: int = 10_000,
        on_quarantine: Callable[[Item, str], None] | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> None:
        if workers < 1 or timeout_s <= 0 or memory_mb < 1 or max_waiting < 1:
            raise ValueError(
                f"need workers >= 1, timeout_s > 0, memory_mb >= 1, max_waiting >= 1; "
                f"got workers={workers}, timeout_s={timeout_s}, memory_mb={memory_mb}, max_waiting={max_waiting}"
            )
        self._supervisor = Supervisor(
            workers=workers,
            timeout_s=timeout_s,
            memory_mb=memory_mb,
            warm=warm,
            limits=limits or CodeLimits(),
            max_waiting=max_waiting,
            on_quarantine=on_quarantine or (lambda item, failure: None),
            on_output=on_output,
        )
        self.queue = self._supervisor.queue
        self._supervisor.start()

    async def __aenter__(self) -> Self:
        try:
            await self.ready()
        except BaseException:
            self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    @property
    def pids(self) -> list[int]:
        """Process ids of the workers that take new items now; neither spare workers nor those with a slow item."""
        return self._supervisor.pids

    @property
    def asks(self) -> Mapping[str, Sequence[str]]:
        """By the name of each function of the user's among `warm`: the fields that it asks for, "brings NAME" for what it brings, "yields"
        where it is an environment, and "held" where each of its episodes needs a process.

        Known once the pool is ready.
        """
        return self.queue.asks

    async def ready(self) -> None:
        """Wait until every worker has started; RuntimeError when one cannot, OwnCodeError when the user's code is why.

        Scoring need not wait for it.
        """
        await asyncio.shield(asyncio.wrap_future(self._supervisor.started))

    async def score(self, items: Sequence[Item]) -> list[Verdict]:
        """A verdict for each item, in their order; RuntimeError when the pool is closed or cannot start workers.

        While `max_waiting` items wait, the caller waits too, first come, first served. A call of more than max_waiting items comes in when
        nothing else waits. A caller may be cancelled at any time; its items are then dropped.

        Failures begin with "timeout:", "crash:", "memory:", "output:" or "error:". A scored verdict has `parts["correct"]`.
        """
        if not items:
            return []
        ticket = self.queue.enter(len(items))
        try:
            await asyncio.wrap_future(ticket)
        except asyncio.CancelledError:
            self.queue.leave(ticket, len(items))
            raise
        return await asyncio.wrap_future(self.queue.add(items))

    def close(self) -> None:
        """Kill every worker and wait for its end, which takes milliseconds; waiting callers get a RuntimeError. May be repeated."""
        self.queue.close(RuntimeError("the reward pool is closed"))
        if self._supervisor is not threading.current_thread():
            self._supervisor.join(CLOSE_S)
            if self._supervisor.is_alive():
                raise RuntimeError(f"reward workers did not end within {CLOSE_S:g} s of being killed: processes {self.pids}")
