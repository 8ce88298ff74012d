"""One driver of a laboratory run: what `train` does after its checks, with toy actors in place of Ray's."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from unittest.mock import patch

import cluster.commands.train as command
from benchmarks.faults.asked import PROMPTS
from benchmarks.faults.clock import Deadlock, Killed, Overdue, VirtualLoop
from benchmarks.faults.disk import Disk
from benchmarks.faults.history import History
from benchmarks.faults.plan import CLOCK, Fault, Kind, Shape
from benchmarks.faults.toy_rank import ToyRank
from benchmarks.faults.toys import ToyEngine, ToyReward
from benchmarks.faults.world import Handle, Process, World
from cluster.actors import ping
from cluster.actors.engines import EnginePool, OnEvent
from cluster.actors.fleet import watch
from cluster.actors.fleet.fleet import Fleet
from cluster.actors.learners import Learners
from cluster.actors.start import Actors, _ready
from cluster.causes.roles import Role, register
from cluster.commands.resuming.beginning import where_to_begin
from cluster.commands.validate import Checked
from cluster.publish import callback
from cluster.record.checkpoint import refuse_changed_data
from cluster.record.pictures.artist import Artist
from cluster.record.run_dir import never_began, set_aside, write_config
from cluster.record.saves.damage import refuse_damaged_record
from cluster.stop import Stop
from configs.schema import Config
from rollout.chat.chat import NOTHING, Chat
from rollout.prompts.prompts import EvalSet, PromptSet
from rollout.transfer.transport import choose_transport

EPOCH = 1_700_000_000.0  # the wall clock at the first driver's first second


class End(StrEnum):
    """How a driver ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    KILLED = "killed"
    FAILED = "failed"
    STUCK = "stuck"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """The end of one driver."""

    how: End
    seconds: float
    turns: int
    error: BaseException | None = None
    lost_lines: bool = False  # a power cut or a full disk took the newest lines of files


class Quiet:
    """A terminal that nobody reads; it keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_: nullcontext()

    def say(self, text: str) -> None:
        self.lines.append(text)


class Driver:
    """Runs one attempt in a loop of its own, so that it can be killed between any two callbacks."""

    def __init__(
        self, config: Config, shape: Shape, faults: list[Fault], history: History, disk: Disk, turns: int, now: float, end: float
    ) -> None:
        """`turns` and `now` are the callbacks and seconds of the drivers before; after `end` seconds of its own it counts as stuck."""
        self.config, self.shape, self.faults, self.history, self.disk = config, shape, faults, history, disk
        self.before, self.now = turns, now
        self.loop = VirtualLoop(end)
        self.loop.set_exception_handler(lambda *_: None)  # tasks of killed processes end as they like
        self.world = World(shape, faults, history)
        history.now = lambda: self.now + self.loop.time()
        self.stop = Stop()
        self.show = Quiet()
        self.power_cut = self.killed = False
        self.lives = 0

    def run(self) -> Ended:
        """Until it ends in any way."""
        error: BaseException | None = None
        self.loop.turns.strike = self.disk.strike = self._strike_due
        self._arm()
        for fault in [fault for fault in self.faults if fault.stage == CLOCK]:
            self.loop.call_at(max(fault.nth - self.now, 0.0), self._strike_by_the_clock, fault)
        try:
            with self._virtual():
                self.loop.run_until_complete(self.drive())
        except Killed:
            how = End.KILLED
        except (Deadlock, Overdue) as stuck:
            how, error = End.STUCK, stuck
            self.disk.capture(self.config.run_dir, False)
        except BaseException as failed:  # all of them are judged
            how, error = End.FAILED, failed
        else:
            how = End.STOPPED if self.stop.asked and not self.finished() else End.FINISHED
        self.loop.close()
        if how in (End.KILLED, End.STUCK):
            self.disk.restore(self.config.run_dir)
        lost_lines = self.power_cut or self.disk.full
        self.disk.reset()
        now = self.now + self.loop.time()
        self.history.now = lambda: now
        self.world.processes.clear()
        return Ended(how=how, seconds=self.loop.time(), turns=self.loop.turns.done, error=error, lost_lines=lost_lines)

    async def drive(self) -> None:
        """What `train` does within the lock of the run directory."""
        config = self.config
        refuse_damaged_record(config)
        begin = where_to_begin(config)
        refuse_changed_data(begin.position, PROMPTS)
        for line in begin.describe(config):
            self.show.say(line)
        if begin.position.step >= config.run.steps:
            return
        if never_began(config.run_dir):
            set_aside(config.run_dir)
        write_config(config)
        held_out = [EvalSet(name="", path="e.jsonl", samples=2, prompts=PROMPTS[:2])] if self.shape.eval_every else []
        checked = Checked(prompts=PromptSet(prompts=PROMPTS, dropped=0), held_out=held_out, lines=[], checkers=[])
        await command._train(config, checked, begin, self.show, None, self.stop)  # type: ignore[arg-type]

    def finished(self) -> bool:
        """Whether the newest checkpoint is that of the last step."""
        return (self.config.run_dir / "checkpoints" / f"step_{self.config.run.steps:06d}").is_dir()

    def _arm(self) -> None:
        """Set the loop and the disk to the next fault of the driver."""
        turns, disk = self.loop.turns, self.disk
        turns.due = max(self._next("callback", turns.done + self.before) - self.before, 0)
        disk.due = self._next("disk", disk.operations)

    def _next(self, stage: str, now: int) -> int:
        """When the next fault of the driver is due at a stage; 0 is never."""
        due = [fault.nth for fault in self.faults if (fault.role, fault.stage) == ("driver", stage)]
        return max(min(due), now + 1) if due else 0

    def _strike_due(self) -> None:
        """Let the driver's due faults strike; Killed if one of them kills it."""
        if self.killed:
            raise Killed
        now = {"callback": self.before + self.loop.turns.done, "disk": self.disk.operations}
        for fault in [f for f in self.faults if f.role == "driver" and f.nth <= now[f.stage]]:
            self.faults.remove(fault)
            self.history.strike(fault)
            self.killed |= self._strike(fault)
        self._arm()
        if self.killed:
            self.disk.capture(self.config.run_dir, self.power_cut)
            self.loop.turns.due = self.loop.turns.done + 1  # where it strikes within a task, the loop ends with the next callback
            raise Killed

    def _strike_by_the_clock(self, fault: Fault) -> None:
        """Strike the newest process of a role, if it lives."""
        self.faults.remove(fault)
        newest = [process for process in self.world.processes if process.role == fault.role][-1:]
        if newest and newest[0].alive and newest[0].core_alive:
            self.history.strike(fault)
            self.world.strike(fault, newest[0])

    def _strike(self, fault: Fault) -> bool:
        """Let one fault happen; whether it kills the driver."""
        if fault.kind is Kind.STOP:
            self.stop.ask()
        elif fault.kind is Kind.FULL:
            self.disk.full = True
            self.loop.call_later(self.shape.times.full, setattr, self.disk, "full", False)
        self.history.damage |= fault.kind is Kind.DAMAGE
        self.power_cut |= fault.kind is Kind.POWER
        return fault.kind in (Kind.DRIVER, Kind.POWER, Kind.DAMAGE)

    @contextmanager
    def _virtual(self) -> Iterator[None]:
        """Within: the clocks are the loop's, nothing draws, and the actors are toys."""
        asyncio.set_event_loop(self.loop)
        with ExitStack() as stack:
            for clock in ("monotonic", "perf_counter"):
                stack.enter_context(patch.object(time, clock, self.loop.time))
            stack.enter_context(patch.object(time, "time", lambda: EPOCH + self.now + self.loop.time()))
            stack.enter_context(patch.object(command, "start_actors", self.start_actors))
            stack.callback(asyncio.set_event_loop, None)
            stack.enter_context(patch.object(watch, "OFTEN_S", self.shape.times.look))
            stack.enter_context(patch.object(ping, "EVERY_S", self.shape.times.look))
            stack.enter_context(patch.object(callback, "_say", self.world.call_back))
            stack.enter_context(patch.object(Artist, "draw_when_due", lambda _: None))
            yield

    @asynccontextmanager
    async def start_actors(
        self,
        config: Config,
        on_retry: Callable[[int], None],
        checkers: Sequence[str] = (),
        say: Callable[[str], object] = print,
        on_event: OnEvent = lambda kind, engine, text: None,
        chat: Chat = NOTHING,
    ) -> AsyncIterator[Actors]:
        """Toys in place of Ray's actors: each on a node of its own, or an engine and a rank together on one."""
        shape, world = self.shape, self.world
        reward = world.start("reward 0", 0)
        reward.behind, reward.restarts = ToyReward(world, reward), config.reward.restarts

        def launch(index: int) -> Handle:
            engine = world.start(f"engine {index}", 1 + index)
            engine.behind = ToyEngine(world, engine, reward.handle)
            register_role(engine, config)
            return engine.handle

        async def end(handle: Handle) -> None:
            world.kill(handle)

        pool = EnginePool(config, [], on_retry, kill=world.kill, say=say, on_event=on_event)
        places = OwnPlaces(shape.engines)
        fleet = Fleet(pool, places, launch, end, wanted=shape.engines)
        spawn = self._spawn_ranks
        learners = Learners(config, spawn(), share=lambda shared: shared, spawn=spawn, kill=world.kill)
        async with asyncio.TaskGroup() as starting:
            starting.create_task(learners.start())
            starting.create_task(fleet.start_all())
            starting.create_task(_ready(config, reward.handle.ready.remote(), register_role(reward, config)))
        fleet.begin()
        try:
            yield Actors(engines=pool, learners=learners, transport=choose_transport(config, gpu=False), fleet=fleet, places=places)  # type: ignore[arg-type]
        finally:
            await fleet.close()

    def _spawn_ranks(self) -> list[Handle]:
        """New ranks."""
        life = self.lives = self.lives + 1
        ranks = []
        for rank in range(self.shape.ranks):
            node = 1 + rank if self.shape.together else 1 + self.shape.engines + rank
            ranks.append(self.world.start(f"rank {rank}", node, serial=True))
            ranks[-1].behind = ToyRank(self.world, ranks[-1], rank, life)
            register_role(ranks[-1], self.config)
        return [rank.handle for rank in ranks]


class OwnPlaces:
    """Places that stay reserved, so that a dead engine's is free for the next one."""

    def __init__(self, count: int) -> None:
        self.count = count

    async def open(self, index: int) -> bool:
        """Whether there is such a place."""
        return index < self.count

    async def close(self, index: int) -> None:
        """It stays reserved."""

    def address_of(self, index: int) -> str:
        """The node of an engine."""
        return f"10.0.0.{1 + index}"


def register_role(process: Process, config: Config) -> Role:
    """The role under which errors name a process."""
    kind, _, number = process.role.partition(" ")
    names = {"engine": "engine", "rank": "learner rank", "reward": "reward workers"}
    role = Role(f"{names[kind]} {number}", config.run_dir / "logs" / f"{kind}-{number}.log")
    register(process.id, role)
    return role
