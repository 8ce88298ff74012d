"""Publishing: the learner's weights become the engines' weights, or the engine that failed is named and left out.

    joined ──► paused ──► started ──► transferred ──► finished ──► verified ──► resumed
       ▲          └──────────┴─────────────┴─────────────┴────────────┴──► an engine failed or was late: buried
       └── abandoned: the engines that are left drop the half-done update, and a group is rebuilt over them ◄──┘

Every arrow has the run's deadline, and every retry leaves an engine out, so a publish ends. An engine interrupted between started and
finished may hold layers of two versions: it stays paused until a whole update has reached it. The other engines resume.
A transport that cannot recover (NCCL) has no way back from joining or transferring: the first to abort is named, and the run ends.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.actors.engines import EngineHandle, EnginePool
from cluster.actors.learners import Learners
from cluster.causes.roles import BehindARole
from cluster.publish.blame import Failure, answer, culprits, last_line, until_one_aborts
from configs.rules.engine import gpus_per_engine
from configs.schema import Config
from rollout.proof import Manifest, Proof, differences, fingerprint
from rollout.transport import Rendezvous, Seat, Transport, packed_buffers

Call = Callable[[EngineHandle], Awaitable[Any]]
OnExchange = Callable[[str], object]  # gets the stage


class PublishFailed(BehindARole):
    """The engines did not get the weights that the learner sent; raised from what the member to blame raised."""


class LearnerFailed(PublishFailed):
    """The learner failed: leaving engines out would not help."""


class ExchangeLost(LearnerFailed):
    """An exchange broke on a transport that cannot recover: members that still wait in it, the learner's first rank too, never return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one publish moved and cost."""

    version: int
    bytes: int
    seconds: float
    engines: int
    weights: str  # fingerprint of the weights that every engine has proven to have
    turns: Mapping[str, float]  # seconds of each arrow of the turns since the last publish; empty where GPUs are not shared


class Publisher:
    """Owns the transfer group between learner and engines."""

    def __init__(self, config: Config, engines: EnginePool, learners: Learners, transport: Transport) -> None:
        self.config, self.engines, self.learners, self.transport = config, engines, learners, transport
        self.on_exchange: OnExchange | None = None  # hears of each stage in which engines and learner wait for each other, as it begins
        self.deadline_s = float(config.run.deadline_s)
        self._joined: list[EngineHandle] = []
        self._paused: list[EngineHandle] = []
        self._half_done: list[EngineHandle] = []  # between started and finished
        self._groups = 0
        self._manifest: Manifest = ()
        self._bytes = 0
        self._turns: dict[str, float] = {}

    async def publish(self, version: int) -> Published:
        """Bring every living engine to `version` and prove it; raises PublishFailed if no engine is left or the learner fails."""
        started = time.perf_counter()
        failures: list[PublishFailed] = []
        while alive := await self._reachable():
            try:
                sent = await self._bring(alive, version)
            except PublishFailed as error:
                failures.append(error)
                if isinstance(error, ExchangeLost):
                    raise ExchangeLost(
                        f"version {version} could not be published: {'; then '.join(map(str, failures))}"
                    ) from error.__cause__
                await self._abandon()
                if isinstance(error, LearnerFailed) or self.engines.alive == alive:
                    break
                continue
            for engine in alive:
                self.engines.proven(engine)
            seconds = time.perf_counter() - started
            turns, self._turns = self._turns, {}
            return Published(
                version=version,
                bytes=self._bytes,
                seconds=seconds,
                engines=len(self.engines.alive),
                weights=fingerprint(sent),
                turns=turns,
            )
        whole = [engine for engine in self._paused if engine not in self._half_done and engine.cause is None]
        await self._answers("resume", whole, self._resume)
        if not failures:
            raise PublishFailed(f"version {version} could not be published: no engine is alive") from self.engines.none_left()
        causes = "; then ".join(map(str, failures))
        raise PublishFailed(f"version {version} could not be published: {causes}") from failures[-1]

    async def _reachable(self) -> list[EngineHandle]:
        """The engines that a publish must reach. Where all are dead and one is starting, it waits for that one."""
        if self.engines.is_expected():
            await self.engines.some_alive()
        return self.engines.alive

    async def _bring(self, engines: list[EngineHandle], version: int) -> Proof:
        if engines != self._joined:
            await self._join(engines)
        await self._stop(engines)
        await self._each("start", engines, self._start)
        sent = await self._transfer()
        seen = await self._each("finish", engines, lambda engine: self._finish(engine, version))
        self._verify(sent, dict(zip(engines, seen, strict=True)))
        await self._go_on(engines)
        return sent

    async def _stop(self, engines: list[EngineHandle]) -> None:
        """Stop the requests of every engine that still runs some."""
        await self._each("pause", [engine for engine in engines if engine not in self._paused], self._pause)

    async def _go_on(self, engines: list[EngineHandle]) -> None:
        """Let the requests of engines with whole weights continue."""
        await self._each("resume", engines, self._resume)

    async def _abandon(self) -> None:
        """Abandon the failed try. Members that waited in its group have aborted, so the next try needs a new group."""
        self._joined = []
        left = [engine for engine in self._half_done if engine.cause is None]
        await self._answers("abandon", left, lambda engine: engine.actor.abandon_update.remote())

    async def _pause(self, engine: EngineHandle) -> None:
        self._paused.append(engine)
        await engine.actor.pause.remote()

    async def _start(self, engine: EngineHandle) -> None:
        if engine not in self._half_done:
            self._half_done.append(engine)
        await engine.actor.start_update.remote()

    async def _finish(self, engine: EngineHandle, version: int) -> Any:
        seen = await engine.actor.finish_update.remote(version)
        self._half_done.remove(engine)
        return seen

    async def _resume(self, engine: EngineHandle) -> None:
        await engine.actor.resume.remote()
        self._paused.remove(engine)

    async def _join(self, engines: list[EngineHandle]) -> None:
        """Form the transfer group: the learner's first rank, then every worker of every engine."""
        if not self._manifest:
            self._manifest = await self.learners.manifest()
            self._bytes = sum(entry.nbytes for entry in self._manifest)
        self._joined, self._groups = list(engines), self._groups + 1
        workers = gpus_per_engine(self.config)
        host, port = await self.learners.address()
        meeting = Rendezvous(
            name=f"publish-{self._groups}",
            host=host,
            port=port,
            world_size=1 + workers * len(engines),
            buffers=await self._buffers(engines),
        )

        def join(engine: EngineHandle) -> Awaitable[Any]:
            seat = Seat(rendezvous=meeting, rank_offset=1 + workers * engines.index(engine), beside=workers * engine.index)
            joined: Awaitable[Any] = engine.actor.join_transfer.remote(seat)
            return joined

        await self._exchange("join", join, self.learners.all("join_transfer", self.transport, meeting))

    async def _buffers(self, engines: list[EngineHandle]) -> int:
        """How many packed chunks are under way at once, by the memory of the fullest GPU that takes part."""
        if not self.transport.packs:
            return 1
        rooms = await self._each("measure", engines, lambda engine: engine.actor.room.remote())
        sender, *_ = await self.learners.all("room")
        return packed_buffers(self._manifest, min(sender, *rooms))

    async def _transfer(self) -> Proof:
        manifest = self._manifest
        proofs = await self._exchange("transfer", lambda engine: engine.actor.receive.remote(manifest), self.learners.all("send"))
        sent: Proof = proofs[0]
        unproven = [entry.name for entry in manifest if entry.name not in sent]
        if unproven:
            raise LearnerFailed(f"the learner sent no digest of {', '.join(unproven[:5])} ({len(unproven)} of {len(manifest)} tensors)")
        return sent

    def _verify(self, sent: Proof, seen: dict[EngineHandle, tuple[list[Proof], list[str]]]) -> None:
        """Bury every engine whose weights differ from what was sent, or that did not write its whole model."""
        faults: list[str] = []
        for engine, (proofs, incomplete) in seen.items():
            wrong = [fault for proof in proofs or [{}] for fault in differences(sent, proof)]
            wrong += [f"{layer} is incomplete" for layer in incomplete]
            if wrong:
                faults.append(f"{engine.name} failed the proof: {', '.join(wrong[:5])}")
                self._bury(engine, PublishFailed(faults[-1]))
        if faults:
            raise PublishFailed("; ".join(faults))

    async def _each(self, stage: str, engines: Sequence[EngineHandle], call: Call) -> list[Any]:
        """One stage on every engine; returns their answers in order. Engines that fail are buried and named together in the error."""
        answers = await self._answers(stage, engines, call)
        failures = [found for found in answers if isinstance(found, Failure)]
        if failures:
            raise PublishFailed("; ".join(self._describe(stage, failure) for failure in failures)) from failures[0].error
        return answers

    async def _answers(self, stage: str, engines: Sequence[EngineHandle], call: Call) -> list[Any]:
        """The answers of every engine to one stage; an engine that failed is buried, and its answer is the Failure."""
        answers = await asyncio.gather(*(answer(engine, call(engine), self.deadline_s) for engine in engines))
        for found in answers:
            if isinstance(found, Failure):
                self._bury(found.who, found.error)
        return answers

    async def _exchange(self, stage: str, call: Call, learning: Awaitable[list[Any]]) -> list[Any]:
        """A stage in which learner and engines wait for each other: the answers of the ranks, or an error that blames who broke it."""
        if self.on_exchange is not None:
            self.on_exchange(stage)
        calls = [answer(None, learning), *(answer(engine, call(engine), self.deadline_s) for engine in self._joined)]
        if not self.transport.recoverable:
            return await self._exchange_once(stage, calls)
        learned, *answers = await asyncio.gather(*calls)
        blamed = culprits([found for found in (learned, *answers) if isinstance(found, Failure)])
        if isinstance(learned, Failure) and learned in blamed:
            late = [failure.who.name for failure in blamed if failure is not learned]
            beside = f" ({', '.join(late)} did not answer either)" if late else ""
            raise LearnerFailed(f"the learner failed at '{stage}': {last_line(learned.error)}{beside}") from learned.error
        if blamed:
            raise PublishFailed("; ".join(self._blame(stage, failure) for failure in blamed)) from blamed[0].error
        ranks: list[Any] = learned
        return ranks

    async def _exchange_once(self, stage: str, calls: Sequence[Awaitable[Any]]) -> list[Any]:
        """The same on a transport whose collectives have no deadline: the first member to abort ends the exchange, and the run."""
        found = await until_one_aborts(calls)
        blamed = culprits([answered for answered in found if isinstance(answered, Failure)])
        if blamed:
            causes = "; ".join(self._describe(stage, failure) for failure in blamed)
            raise ExchangeLost(
                f"{causes}. {self.transport.backend.upper()} cannot be called back: resume the run with run.resume=auto"
            ) from blamed[0].error
        ranks: list[Any] = found[0]
        return ranks

    def _blame(self, stage: str, failure: Failure) -> str:
        self._bury(failure.who, failure.error)
        return self._describe(stage, failure)

    def _describe(self, stage: str, failure: Failure) -> str:
        name = failure.who.name if failure.who else "the learner"
        if failure.late:
            return f"{name} was late at '{stage}' (run.deadline_s = {self.deadline_s:g})"
        return f"{name} failed at '{stage}': {last_line(failure.error)}"

    def _bury(self, engine: EngineHandle, cause: BaseException) -> None:
        self.engines.bury(engine, cause)
        for names in (self._paused, self._half_done):
            if engine in names:
                names.remove(engine)
