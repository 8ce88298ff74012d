"""The machines of a laboratory run: processes that answer as Ray's actors do, and faults that strike them at a stage of their work."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import ray

from benchmarks.faults.history import History
from benchmarks.faults.plan import Fault, Kind, Shape, number_of
from rollout.transfer.transport import Rendezvous

SLOWER = 10.0
WITHOUT_CORE = ("ready", "pulse", "shutdown")  # methods of an engine that its actor answers alone
BESIDE = ("ping", "write")  # methods of a rank that run beside another one


class EngineDeadError(Exception):
    """Named as the error of a vLLM front whose engine process is gone."""


class Made:
    """An object in the object store: filled when its task is done, gone with its node."""

    value: Any = None

    def __init__(self, owner: "Process") -> None:
        self.owner = owner
        self.lost = False


class Process:
    """A process that can be killed or stopped. Its methods are those of `behind`, called as a Ray handle calls them."""

    def __init__(self, world: "World", role: str, node: int, *, serial: bool = False) -> None:
        """A `serial` process runs one method at a time."""
        self.world, self.role, self.node = world, role, node
        self.behind: Any = None
        self.alive, self.core_alive = True, True
        self.goes, self.core_goes = asyncio.Event(), asyncio.Event()
        for event in (self.goes, self.core_goes):
            event.set()
        self.slowness = 1.0
        self.restarts = 0  # how often it is started again when it dies, as Ray does; handles stay valid
        self.lock = asyncio.Lock() if serial else None
        self.tasks: dict[asyncio.Task[None], tuple[str, asyncio.Future[Any], Callable[[], object]]] = {}
        self.objects: list[Made] = []
        self.id = f"{number_of(role):016x}"

    @property
    def handle(self) -> "Handle":
        """What a driver has of it."""
        return Handle(self)

    def call(self, name: str, args: Sequence[Any], made: Sequence[Made]) -> asyncio.Future[Any]:
        """Start a method; the answer comes, or the death of the process. Who stops waiting does not stop the method."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if not self.alive:
            asyncio.get_running_loop().call_later(self.world.shape.times.call, fail, answer, self.death())
            return answer
        self._begin(name, args, made, answer)
        return answer

    def _begin(self, name: str, args: Sequence[Any], made: Sequence[Made], answer: asyncio.Future[Any]) -> None:
        task = asyncio.ensure_future(self._serve(name, args, made, answer))
        self.tasks[task] = name, answer, lambda: self._begin(name, args, made, answer)
        task.add_done_callback(lambda task: self.tasks.pop(task, None))

    async def _serve(self, name: str, args: Sequence[Any], made: Sequence[Made], answer: asyncio.Future[Any]) -> None:
        try:
            await asyncio.sleep(self.world.shape.times.call)
            await self.work(name, 0, core=False)
            if not self.core_alive and name not in WITHOUT_CORE:
                raise EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
            if self.lock is None or name in BESIDE:
                result = await getattr(self.behind, name)(*args)
            else:
                async with self.lock:
                    result = await getattr(self.behind, name)(*args)
            await self.work(name, 0, core=False)
        except Exception as error:
            fail(answer, in_an_actor(error, self))
            return
        if made:
            result, *values = result
            for one, value in zip(made, values, strict=True):
                one.value = value
            self.objects += made
        if not answer.done():
            answer.set_result(result)

    async def work(self, stage: str, seconds: float, *, core: bool = True) -> None:
        """Work for so long at a stage, as far as the process runs. Faults strike where it begins and where it ends."""
        for part in (seconds, 0.0) if seconds else (0.0,):
            self.world.reach(self, stage)
            if not self.alive:
                await asyncio.Event().wait()  # this task is cancelled
            if part:
                await asyncio.sleep(part * self.slowness)
            await self.goes.wait()
            if core:
                await self.core_goes.wait()

    def die(self, *, for_good: bool = False) -> None:
        """End the process; those who wait for it hear of it a little later, unless it is started again and asked again."""
        if not self.alive:
            return
        if self.restarts and not for_good:
            self.restarts -= 1
            self._start_again()
            return
        self.alive = False
        self.end(lambda name: True, self.death())

    def _start_again(self) -> None:
        loop, times = asyncio.get_running_loop(), self.world.shape.times
        self.goes.clear()
        self.slowness = 1.0
        for task, (_, _, again) in list(self.tasks.items()):
            task.cancel()
            loop.call_later(times.death + times.reward_start, again)
        loop.call_later(times.death + times.reward_start, self.goes.set)

    def lose_core(self) -> None:
        """End the process behind an engine actor."""
        self.core_alive = False
        dead = EngineDeadError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        self.end(lambda name: name not in WITHOUT_CORE, in_an_actor(dead, self))

    def end(self, ends: Callable[[str], bool], error: BaseException) -> None:
        """End the methods of these names; who waits for one gets the error a little later."""
        later = asyncio.get_running_loop().call_later
        for task, (name, answer, _) in list(self.tasks.items()):
            if ends(name):
                task.cancel()
                later(self.world.shape.times.death, fail, answer, error)

    def death(self) -> ray.exceptions.ActorDiedError:
        """The error of whoever calls it after its death."""
        error = ray.exceptions.ActorDiedError()
        error.actor_id = self.id
        error.error_msg = f"The actor died unexpectedly before finishing this task.\n\tactor_id: {self.id}\n\tip: 10.0.0.{self.node}"
        return error


class Handle:
    """A process as Ray hands it out."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __getattr__(self, name: str) -> "Method":
        if name.startswith("__"):
            raise AttributeError(name)
        return Method(self._process, name)


class Method:
    """A method of a process as a Ray handle has it."""

    def __init__(self, process: Process, name: str, returns: int = 1) -> None:
        self.process, self.name, self.returns = process, name, returns

    def options(self, num_returns: int = 1, **_: Any) -> "Method":
        """The same with several objects as its answer."""
        return Method(self.process, self.name, num_returns)

    def remote(self, *args: Any) -> Any:
        """Call it; an awaitable, or a list of the first answer's and of objects."""
        made = [Made(self.process) for _ in range(self.returns - 1)]
        answer = self.process.call(self.name, args, made)
        return [answer, *made] if made else answer


class World:
    """The processes of one driver, and what is known of the run from outside."""

    def __init__(self, shape: Shape, faults: list[Fault], history: History) -> None:
        self.shape, self.faults, self.history = shape, faults, history
        self.processes: list[Process] = []
        self.meetings: dict[Any, Meeting] = {}
        self.strike_driver: Callable[[Fault], None] = lambda _: None

    def start(self, role: str, node: int, *, serial: bool = False) -> Process:
        """A new process."""
        self.processes.append(Process(self, role, node, serial=serial))
        return self.processes[-1]

    def kill(self, handle: Handle) -> None:
        """As `ray.kill`: at once, whether the process is stopped or not."""
        handle._process.die(for_good=True)

    def reach(self, process: Process, stage: str) -> None:
        """A process enters or leaves a stage: whatever was to strike it there strikes."""
        site = process.role, stage
        self.history.sites[site] += 1
        for fault in [fault for fault in self.faults if (fault.role, fault.stage) == site and fault.nth <= self.history.sites[site]]:
            self.faults.remove(fault)
            self.history.strike(fault)
            self.strike(fault, process)

    def strike(self, fault: Fault, process: Process) -> None:
        """Let a fault happen to a process."""
        loop, times = asyncio.get_running_loop(), self.shape.times
        if fault.kind is Kind.DIE:
            process.die()
        elif fault.kind is Kind.CORE:
            process.lose_core()
        elif fault.kind is Kind.HANG:
            process.goes.clear()
        elif fault.kind is Kind.CORE_HANG:
            process.core_goes.clear()
        elif fault.kind is Kind.STALL:
            process.goes.clear()
            loop.call_later(times.stall, process.goes.set)
        elif fault.kind is Kind.SLOW:
            process.slowness = SLOWER
        elif fault.kind is Kind.OBJECT:
            self.lose_objects([process])
        elif fault.kind is Kind.NODE:
            there = [other for other in self.processes if other.node == process.node]
            self.lose_objects(there)
            for other in there:
                other.die()

    def lose_objects(self, processes: Sequence[Process]) -> None:
        """Objects that these processes made are gone."""
        for process in processes:
            for made in process.objects:
                made.lost = True

    def call_back(self, meeting: Rendezvous) -> None:
        """Whoever waits in an exchange of a transfer group gives up at its next look."""
        for (name, *_), exchange in self.meetings.items():
            exchange.broken |= name == meeting.name and not exchange.complete.is_set()

    async def meet(self, what: Any, world: int, patience: float, who: Process, brings: Any = None) -> list[Any]:
        """A collective of `world` members: what all of them bring, once they have come; RuntimeError if one dies or does not come."""
        meeting = self.meetings.setdefault(what, Meeting(world))
        return await meeting.join(who, brings, patience)


class Meeting:
    """One collective."""

    def __init__(self, world: int) -> None:
        self.world = world
        self.came: dict[Process, Any] = {}
        self.complete = asyncio.Event()
        self.broken = False

    async def join(self, who: Process, brings: Any, patience: float) -> list[Any]:
        """Wait for the others."""
        self.came[who] = brings
        if len(self.came) == self.world and not self.broken:
            self.complete.set()
        waited = 0.0
        while not self.complete.is_set():
            try:
                await asyncio.wait_for(self.complete.wait(), min(5.0, patience - waited))
            except TimeoutError:
                waited += 5.0
            if any(not member.alive or not member.core_alive for member in self.came):
                self.broken = True
            if self.broken and not self.complete.is_set():
                raise RuntimeError("gloo: Connection closed by peer") from None
            if waited >= patience and not self.complete.is_set():
                self.broken = True
                raise RuntimeError("gloo: Timed out waiting for a peer") from None
        return list(self.came.values())


def fail(answer: asyncio.Future[Any], error: BaseException) -> None:
    """Answer with an error, unless nobody waits any more."""
    if not answer.done():
        answer.set_exception(error)
        answer.exception()  # whoever stopped waiting need not fetch it


def in_an_actor(error: Exception, process: Process) -> BaseException:
    """The error as Ray hands it to the caller: of a class that is also the error's own, with the actor's id in its text."""
    where = f"ray::{process.role} (pid=1, ip=10.0.0.{process.node}, actor_id={process.id})"
    text = f"{where}\n{type(error).__name__}: {error}"
    wrapped = ray.exceptions.RayTaskError(process.role, text, error, proctitle=process.role, ip=f"10.0.0.{process.node}")
    found: BaseException = wrapped.as_instanceof_cause()
    return found
