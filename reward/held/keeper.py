"""The thread that owns held worlds: it forks one for each episode, passes on questions and answers, and ends what is late, idle or left.

```
ask ──► register ──place free──► fork: STARTING ──► ANSWERING ◄──► WAITING ──returned, failed, left, idle──► CLOSING ──► gone: place free
                                     │                  └─ late ─► CLOSING ──LEAVE_S──► killed: ENDING ──► gone
                                     └─ died: the episode fails; nothing is tried again, as its state is lost
```
When the template dies, so do all worlds, and their episodes fail. A late world is asked to close first, so that it can end its own servers.
"""

import json
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from reward.held.bounds import END_S, FORK_S, LEAVE_S, MAX_OUTPUT_BYTES, WALL_TIMES, Bounds
from reward.held.episode import Beginning, Episode, Heard, Results
from reward.held.nursery import Nursery
from reward.held.protocol import Kind, Step
from reward.held.register import Register
from reward.held.world_owner import Phase, World, WorldGone
from reward.workers.lateness import GONE_S
from rollout.types import Outcome, Verdict

SOON_S, TURN_S = 0.005, 1.0
OnCrash = Callable[[Episode, str], None]
Order = tuple[str, Beginning | None, Sequence[Heard], Future[Results] | None]  # without a caller: leave


class Keeper(threading.Thread):
    """Serves questions until it is closed. `started` is set when worlds can be forked."""

    def __init__(self, bounds: Bounds, nursery: Nursery, on_crash: OnCrash) -> None:
        super().__init__(name="held-worlds", daemon=True)
        self.bounds, self.nursery, self._on_crash = bounds, nursery, on_crash
        nursery.owner = self
        self.register = Register(bounds.most)
        self.worlds: dict[int, World] = {}  # by serial
        self._orders: deque[Order] = deque()
        self._lock = threading.Lock()
        self._error: Exception | None = None  # why it takes no more questions
        self.started: Future[None] = Future()

    def ask(self, name: str, beginning: Beginning | None, words: Sequence[Heard]) -> Future[Results]:
        """What the world does after all these words; from any thread. The future raises RuntimeError where no world can be started.

        beginning: needed with the first turn alone.
        """
        caller: Future[Results] = Future()
        self._put((name, beginning, words, caller))
        return caller

    def leave(self, name: str) -> None:
        """Nobody will ask about this episode again, or about any whose name begins with `name` where that ends in "/"."""
        with suppress(RuntimeError):  # closed: its worlds have ended
            self._put((name, None, (), None))

    def _put(self, order: Order) -> None:
        with self._lock:
            if self._error is not None:
                raise self._error.with_traceback(None)  # else its traceback would grow with every caller's frames
            self._orders.append(order)
        self.nursery.wake()

    def close(self, error: Exception) -> None:
        """Take no more questions, for this reason; the thread then ends all worlds and itself."""
        with self._lock:
            self._error = self._error or error
        self.nursery.wake()

    def run(self) -> None:
        """Serve until `close`; leave no process and no descriptor."""
        try:
            while self._error is None:
                self._turn()
        except Exception as error:  # callers must get every error: no other thread would report it
            self.close(error)
        finally:
            self._end()

    def _turn(self) -> None:
        now = time.monotonic()
        self.nursery.tend(now)
        if self.nursery.ready and not self.started.done():
            self.started.set_result(None)
        self._fork(now)
        look = min((self._look(world, now) for world in list(self.worlds.values())), default=now + TURN_S)
        self.nursery.wait(min(TURN_S, look - time.monotonic()))
        while self._orders:
            self._obey(self._orders.popleft())

    def _obey(self, order: Order) -> None:
        name, beginning, words, caller = order
        if caller is None:
            for episode in self.register.leave(name):
                if episode.serial is not None:
                    self._let_go(self.worlds[episode.serial])
            return
        asked = self.register.ask(name, beginning, words, caller)
        if asked is None or asked.serial is None or (world := self.worlds[asked.serial]).phase is Phase.STARTING:
            return
        said = asked.heard[-1]
        world.ask({"over": True} if said is None else {"said": said}, time.monotonic())

    def _fork(self, now: float) -> None:
        """Start worlds for the episodes that wait, where there is room."""
        while self.nursery.may_fork(now) and (episode := self.register.next(self.nursery.serial + 1)) is not None:
            world = self.nursery.fork(episode.name, now)
            if world is None:
                self.register.give_back(episode.name)
                return
            self.worlds[world.serial] = world

    def _look(self, world: World, now: float) -> float:
        """Deal with a world that is late; when to look again, by time.monotonic."""
        bounds, wall = self.bounds, now - world.since
        if world.closed and world.phase in (Phase.STARTING, Phase.ANSWERING, Phase.WAITING):
            if now - world.closed_at < GONE_S:  # the template will report its end
                return world.closed_at + GONE_S
            self.lose(world, Outcome.CRASHED, "crash: the world closed its channel")
        match world.phase:
            case Phase.STARTING if wall > FORK_S:
                self.lose(world, Outcome.TIMED_OUT, f"timeout: the world's process did not start in {FORK_S:g} s")
            case Phase.ANSWERING:
                limit = math.inf if world.agent else bounds.start_s if world.first else bounds.timeout_s
                if now < world.look_at:
                    return world.look_at
                left = min(limit - world.clock.spent(now), WALL_TIMES * limit - wall)
                if left <= 0:
                    self.hear(world)  # an answer that has come is not late, however late we look
                if left <= 0 and world.phase is Phase.ANSWERING:
                    self._late(world, limit, wall)
                world.look_at = now + min(max(SOON_S, left), TURN_S if world.agent else math.inf)
                return world.look_at
            case Phase.WAITING if wall > bounds.idle_s:
                self._fail(world, Outcome.TIMED_OUT, f"timeout: nobody asked its world for {bounds.idle_s:g} s, so that it was ended")
                self._let_go(world)
            case Phase.CLOSING if wall > LEAVE_S:
                self._kill(world)
        limits = {Phase.STARTING: FORK_S, Phase.WAITING: bounds.idle_s}
        return now + TURN_S if world.phase is Phase.ENDING else world.since + limits.get(world.phase, LEAVE_S) + SOON_S

    def _late(self, world: World, limit: float, wall: float) -> None:
        own = world.clock.spent(time.monotonic())
        what, key = ("start the world", "held_start_s") if world.first else ("answer", "timeout_s")
        if own >= limit:
            how = f"more than {limit:g} s to {what} (reward.{key})"
        else:
            how = f"it did not {what} in {wall:.1f} s on a busy machine; {own:.1f} s of them were its own"
        self._fail(world, Outcome.TIMED_OUT, f"timeout: {how}")
        self._let_go(world)

    def hear(self, world: World) -> None:
        """Take in the world's new steps."""
        try:
            for step in world.steps():
                self._take(world, step)
        except WorldGone as gone:
            self.lose(world, Outcome.CRASHED, str(gone))

    def _take(self, world: World, step: Step) -> None:
        now = time.monotonic()
        if world.phase is Phase.STARTING:
            self.nursery.failures = 0
            return self._begin(world, now)
        if world.phase is not Phase.ANSWERING:
            return None  # it is being ended: nobody waits for this
        world.first, world.look_at = False, now
        if not step.ends:
            world.enter(Phase.WAITING, now)
            return self.register.settle(world.episode, step)
        world.enter(Phase.CLOSING, now)
        if step.kind is Kind.RETURNED:
            return self.register.settle(world.episode, step)
        if step.kind is Kind.MEMORY:
            return self._fail(world, Outcome.CRASHED, f"memory: the world needs more than memory_mb={self.bounds.memory_mb}")
        return self._fail(world, Outcome.UNSCORABLE, step.failure)

    def _begin(self, world: World, now: float) -> None:
        """Have a new world start its episode."""
        episode = self.register.live.get(world.episode)
        if episode is None or episode.serial != world.serial:  # left in the meantime
            return self._kill(world)
        begin, said = episode.beginning, episode.heard[0]
        given = f'"reference": {begin.reference}, "fields": {begin.fields}'
        world.look_at, world.agent = now, begin.agent
        return world.ask(f'{{"begin": {json.dumps(begin.checker)}, "said": {json.dumps(said)}, {given}}}', now)

    def printed(self, world: World) -> None:
        """End a world that prints without end: to read that takes a core, and an unread pipe would make it hang."""
        if world.printed > MAX_OUTPUT_BYTES and world.phase in (Phase.ANSWERING, Phase.WAITING):
            self.lose(world, Outcome.CRASHED, f"output: the world printed more than {MAX_OUTPUT_BYTES >> 10} KB for one answer")

    def _fail(self, world: World, outcome: Outcome, failure: str) -> None:
        """The episode of a world has no reward."""
        episode = self.register.live.get(world.episode)
        if episode is None or episode.serial != world.serial:
            return
        text = f"{failure} [in turn {max(1, len(episode.heard))} of a held world]"
        self.register.settle(world.episode, Verdict.failed(outcome, text))
        if outcome is Outcome.CRASHED:
            self._on_crash(episode, text)

    def lose(self, world: World, outcome: Outcome, failure: str) -> None:
        """End a world that is of no use any more, at once."""
        self._fail(world, outcome, failure)
        self._kill(world)

    def _let_go(self, world: World) -> None:
        """Ask a world to close its generator and to end."""
        if world.phase is Phase.STARTING:
            return self._kill(world)
        if world.phase in (Phase.ANSWERING, Phase.WAITING):
            world.enter(Phase.CLOSING, time.monotonic())
            self.nursery.ask("close", world)
        return None

    def _kill(self, world: World) -> None:
        if world.phase is not Phase.ENDING:
            world.enter(Phase.ENDING, time.monotonic())
            self.nursery.ask("kill", world)

    def unborn(self, world: World) -> None:
        """There is no process for a world: its episode waits again."""
        del self.worlds[world.serial]
        self.register.give_back(world.episode)
        self.nursery.release(world)

    def gone(self, world: World, how: str) -> None:
        """A world's process has been reaped."""
        if world.phase is not Phase.ENDING:
            self.hear(world)  # its last steps
        del self.worlds[world.serial]
        self._fail(world, Outcome.CRASHED, how)
        self.register.worlds -= 1
        self.nursery.release(world)

    def _end(self) -> None:
        """Have every world close, and leave no process and no descriptor."""
        error = self._error or RuntimeError("held worlds are closed")
        try:
            self._close_worlds()
        finally:
            self.nursery.end()
            callers = [order[3] for order in self._orders if order[3] is not None]
            callers += [caller for episode in self.register.live.values() for caller in episode.waiting]
            for caller in callers:
                if not caller.done():
                    caller.set_exception(error)
            if not self.started.done():
                self.started.set_exception(error)

    def _close_worlds(self) -> None:
        """Ask every world to end and wait for that, at most END_S."""
        deadline = time.monotonic() + END_S
        for world in list(self.worlds.values()):
            self._let_go(world)
        while self.worlds and self.nursery.ready and (left := deadline - time.monotonic()) > 0:
            self.nursery.wait(min(left, TURN_S))
