"""The tasks of many callers in one queue, behind a door that lets in no more than there is room for.

```
score ──enter──► (door, while the queue is full) ──add──► queue ──take──► a worker ──put_aside──► slow ──take_slow──► a worker aside
```
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from configs.digits import write_long_json
from reward.workers.quarantine import Quarantine
from reward.workers.tasks import Call, Item, Task
from rollout.types import Outcome, Verdict

MAX_CHUNK_ITEMS = 32
MAX_CHUNK_CHARS = 1 << 20


class TaskQueue:
    """Tasks in the order of their coming, given out in chunks; once closed, it fails every task with one error.

    `wake` is called, on any thread, when there is new work.
    """

    def __init__(self, workers: int, max_waiting: int, wake: Callable[[], None]) -> None:
        self.quarantine = Quarantine()
        self._workers, self._max_waiting, self._wake = workers, max_waiting, wake
        self._tasks: deque[Task] = deque()
        self._slow: deque[Task] = deque()
        self._door: deque[tuple[Future[None], int]] = deque()
        self._entering = 0  # items that were let in and not added yet
        self._calls: set[Call] = set()
        self.asks: dict[str, list[str]] = {}  # by the name of a function of the user's, the fields that it asks for
        self._lock = threading.Lock()
        self._error: Exception | None = None

    @property
    def closed(self) -> bool:
        return self._error is not None

    @property
    def waiting(self) -> int:
        """How many items wait for a worker; items at the door do not count."""
        return len(self._tasks) + len(self._slow) + self._entering

    def enter(self, items: int) -> Future[None]:
        """Ask for room: the future resolves when `add` may be called; afterwards call `add` or `leave`."""
        ticket: Future[None] = Future()
        with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)  # else its traceback would grow with every caller's frames
            self._door.append((ticket, items))
            self._let_in()
        return ticket

    def leave(self, ticket: Future[None], items: int) -> None:
        """Give up the room that was asked for, whether it was granted or not."""
        with self._lock:
            if not ticket.cancel() and ticket.exception() is None:
                self._entering -= items
            self._let_in()

    def _let_in(self) -> None:
        """Let callers in by turns while there is room; a caller that needs more than max_waiting comes in when the queue is empty."""
        while self._door:
            ticket, items = self._door[0]
            if not ticket.cancelled():
                if self.waiting and self.waiting + items > self._max_waiting:
                    return
                if ticket.set_running_or_notify_cancel():
                    self._entering += items
                    ticket.set_result(None)
            self._door.popleft()

    def add(self, items: Sequence[Item]) -> Future[list[Verdict]]:
        """Queue the items that were let in; the future gets their verdicts."""
        call = Call(len(items))
        groups: dict[int, str] = {}
        tasks = [task for index, item in enumerate(items) if (task := self._task(call, index, item, groups)) is not None]
        with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)
            self._entering -= len(items)
            self._calls.add(call)
            self._tasks.extend(tasks)
            self._let_in()
        call.future.add_done_callback(lambda _: self._forget(call))
        self._wake()
        return call.future

    def _task(self, call: Call, index: int, item: Item, groups: dict[int, str]) -> Task | None:
        """The item as it will be sent; None where it gets its verdict at once. `groups` has the JSON of the groups seen before."""
        try:
            head, group = as_json(item, self.asks.get(item.checker), groups)
        except (TypeError, ValueError, RecursionError) as error:
            call.settle(index, Verdict.failed(Outcome.UNSCORABLE, f"error: {type(error).__name__}: not a JSON value: {error}"))
            return None
        task = Task(call=call, index=index, item=item, head=head, group=group)
        if (failure := self.quarantine.find(task.payload)) is not None:
            call.settle(index, Verdict.failed(Outcome.CRASHED, f"crash: quarantined: this very item has killed workers before: {failure}"))
            return None
        return task

    def _forget(self, call: Call) -> None:
        with self._lock:
            self._calls.discard(call)

    def take(self) -> list[Task]:
        """The next chunk, small enough that the other workers get their share; empty when nothing waits."""
        with self._lock:
            chunk: list[Task] = []
            # One worker shares with nobody, and every chunk costs a round trip.
            limit = min(MAX_CHUNK_ITEMS, -(-len(self._tasks) // (2 * self._workers if self._workers > 1 else 1)))
            chars = 0
            while self._tasks and len(chunk) < limit and chars < MAX_CHUNK_CHARS:
                task = self._tasks.popleft()
                if not task.call.over:
                    chunk.append(task)
                    chars += len(task.head) + len(task.group)
            self._let_in()
            return chunk

    def take_slow(self) -> Task | None:
        """The next task to be scored aside."""
        with self._lock:
            while self._slow:
                task = self._slow.popleft()
                self._let_in()
                if not task.call.over:
                    return task
            return None

    def give_back(self, tasks: Sequence[Task]) -> None:
        """Put tasks that were taken but not begun back to the front of the queue."""
        with self._lock:
            self._tasks.extendleft(reversed(tasks))

    def put_aside(self, task: Task, *, first: bool = False) -> None:
        """Queue a task that is slow, or that a worker died of, for a place aside, where no other task waits behind it."""
        with self._lock:
            if first:
                self._slow.appendleft(task)
            else:
                self._slow.append(task)

    def close(self, error: Exception) -> None:
        """Fail every call, now and later, with the error; the first error stays."""
        with self._lock:
            if self._error is None:
                self._error = error
            error, calls, door = self._error, list(self._calls), list(self._door)
            self._tasks.clear()
            self._slow.clear()
            self._door.clear()
        for ticket, _ in door:
            if ticket.set_running_or_notify_cancel():
                ticket.set_exception(error)
        for call in calls:
            call.fail(error)
        self._wake()


def as_json(item: Item, asks: Sequence[str] | None, groups: dict[int, str]) -> tuple[str, str]:
    """The item as it is sent, as `head` and `group` of a task.

    asks: the fields that its checker asks for, None where that is not known yet: then it gets all that the item has.
    """
    response = item.response if item.transcript is None else item.transcript.as_json()
    first = [item.checker, None if item.of_reference else response, item.reference]
    fields = {name: value for name, value in item.fields.items() if asks is None or name in asks}
    shared = bool(item.group) and (asks is None or "group" in asks)
    if not shared:
        return write_long_json([*first, fields] if fields else first), ""
    if id(item.group) not in groups:
        groups[id(item.group)] = f'"group": {write_long_json(list(item.group))}}}]'
    head = write_long_json([*first, fields]).removesuffix("}]")
    return f"{head}, " if fields else head, groups[id(item.group)]
