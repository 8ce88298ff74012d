"""Publishing: the learner's weights become the engines' weights, or the engine that failed is named and left out.

    joined ──► transferred ──► verified ──► resumed
       ▲            └─────────────┴────────────┴──► an engine failed or was late: buried
       └── abandoned: the engines that are left drop the half-done update, and a group is rebuilt over them ◄──┘

Every arrow has the run's deadline, and every retry leaves an engine out, so a publish ends. The transfer is one call of each engine: it
pauses, receives, loads and proves. An engine interrupted in it may hold layers of two versions: it stays paused until a whole update has
reached it. The other engines resume.
In join and transfer the members wait for each other. Once one fails, or is taken out of service meanwhile, the other members are called
back (`callback.py`). An engine that joins for the first time serves once it has been proven like the others (`newcomers.py`).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.actors.engines import EnginePool, NoEngineLeft
from cluster.actors.fleet.handle import EngineHandle
from cluster.actors.learners import Learners
from cluster.causes.roles import BehindARole
from cluster.publish.blame import Failure, answer, culprits, exchanged, last_line
from cluster.publish.callback import CallBack, by_store
from cluster.publish.newcomers import Newcomers
from cluster.record.metrics.timeline.spans import PUBLISH, Spans
from configs.rules.engine import gpus_per_engine
from configs.schema import Config
from rollout.transfer.proof import Manifest, Proof, differences, fingerprint
from rollout.transfer.transport import Rendezvous, Seat, Transport, packed_buffers

Call = Callable[[EngineHandle], Awaitable[Any]]
Seen = tuple[list[Proof], list[str]]  # what each worker of an engine digested, and the layers that are not whole
OnExchange = Callable[[str], object]  # gets the stage
OnProven = Callable[[int, Proof, Mapping[EngineHandle, Proof]], object]  # gets the version, what was sent, and what each engine has


class PublishFailed(BehindARole):
    """The engines did not get the weights that the learner sent; raised from what the member to blame raised."""


class LearnerFailed(PublishFailed):
    """The learner failed: leaving engines out would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one publish moved and cost."""

    version: int
    bytes: int
    seconds: float
    engines: int
    weights: str  # fingerprint of the weights that were sent
    proven: Mapping[str, str]  # engine -> fingerprint of the weights that its workers have proven to have
    turns: Mapping[str, float]  # seconds of each arrow of the turns since the last publish; empty where GPUs are not shared


class Publisher:
    """Owns the transfer group between learner and engines."""

    def __init__(
        self, config: Config, engines: EnginePool, learners: Learners, transport: Transport, call_back: CallBack = by_store
    ) -> None:
        self.config, self.engines, self.learners, self.transport, self.call_back = config, engines, learners, transport, call_back
        self.on_exchange: OnExchange | None = None  # called with each stage in which engines and learner wait for each other, as it begins
        self.on_proven: OnProven | None = None  # called with what every engine proved, before it serves with these weights
        self.spans = Spans()
        self.deadline_s = float(config.run.deadline_s)
        self.version: int | None = None  # of the newest publish that was proven
        self.newcomers = Newcomers(config, engines)
        self._joined: list[EngineHandle] = []
        self._paused: list[EngineHandle] = []
        self._half_done: list[EngineHandle] = []  # asked to update, and no whole update has reached them since
        self._updating: list[EngineHandle] = []  # asked to update, and neither done nor told to abandon it
        self._meeting: Rendezvous | None = None  # of the newest group
        self._exchanging = False  # members may stand in an exchange of it
        self._unfinished = False  # a try was left without an end
        self._groups = 0
        self._manifest: Manifest = ()
        self._bytes = 0
        self._turns: dict[str, float] = {}

    async def publish(self, version: int) -> Published:
        """Bring every living engine to `version` and prove it; raises PublishFailed if no engine is left or the learner fails.

        An engine that appears while it works waits for the next publish, unless all others are lost.
        """
        started = time.perf_counter()
        failures: list[PublishFailed] = []
        if self._unfinished:
            await self._abandon()
        members = self.engines.alive
        while members or (members := await self._others()):
            try:
                with self.spans.on_engines([engine.name for engine in members], "new weights", "publish"):
                    sent, proven = await self._bring(members, version)
            except PublishFailed as error:
                failures.append(error)
                await self._abandon()
                left = [engine for engine in members if engine.cause is None]
                if isinstance(error, LearnerFailed) or left == members:
                    break
                members = left
                continue
            for engine in members:
                self.engines.proven(engine)
            seconds = time.perf_counter() - started
            turns, self._turns = self._turns, {}
            self.version = version
            return Published(
                version=version,
                bytes=self._bytes,
                seconds=seconds,
                engines=sum(engine.cause is None for engine in members),
                weights=fingerprint(sent),
                proven={engine.name: fingerprint(proof) for engine, proof in proven.items() if engine.cause is None},
                turns=turns,
            )
        whole = [engine for engine in self._paused if engine not in self._half_done and engine.cause is None]
        await self._answers("resume", whole, self._resume)
        if not failures:
            raise PublishFailed(f"version {version} could not be published: no engine is alive") from self.engines.none_left()
        causes = "; then ".join(map(str, failures))
        # Of the same kind as the last failure: after a failure of the learner its ranks can come back.
        raise type(failures[-1])(f"version {version} could not be published: {causes}") from failures[-1]

    async def reset(self) -> None:
        """Forget the transfer group, and let engines drop a half-done update: the ranks of both are gone."""
        self._manifest = ()
        await self._abandon()

    async def _others(self) -> list[EngineHandle]:
        """Engines that were started since the publish began; none if none ever will be."""
        try:
            await self.engines.some_alive()
        except NoEngineLeft:
            return []
        return self.engines.alive

    async def _bring(self, engines: list[EngineHandle], version: int) -> tuple[Proof, dict[EngineHandle, Proof]]:
        self._unfinished = True
        if engines != self._joined:
            await self._join(engines)
        await self._stop(engines)
        sent, seen = await self._transfer(engines, version)
        with self.spans.within(PUBLISH, "proof", "publish"):
            self._verify(sent, seen)
        proven = {engine: proofs[0] for engine, (proofs, _) in seen.items()}
        if self.on_proven is not None:
            self.on_proven(version, sent, proven)
        await self._go_on(engines)
        await self.newcomers.admit(engines)
        self._unfinished = False
        return sent, proven

    async def _stop(self, engines: list[EngineHandle]) -> None:
        """Make engines ready for new weights. One with memory of its own does it within the transfer: it freezes its requests."""

    async def _go_on(self, engines: list[EngineHandle]) -> None:
        """Let the requests of engines with whole weights continue."""
        await self._each("resume", engines, self._resume)

    async def _abandon(self) -> None:
        """Abandon the last try: no member waits in its group any more, and the next try forms a new one."""
        if self._meeting is not None and self._exchanging:
            await self.call_back(self._meeting)
        self._joined, self._exchanging, self._unfinished = [], False, False
        left = [engine for engine in self._updating if engine.cause is None]
        self._updating = []
        await self._answers("abandon", left, lambda engine: engine.actor.abandon_update.remote())

    def _begins(self, engine: EngineHandle) -> None:
        """An engine is asked to update: it freezes its requests, and then has weights of two versions until all have arrived."""
        for names in (self._paused, self._half_done, self._updating):
            if engine not in names:
                names.append(engine)

    async def _resume(self, engine: EngineHandle) -> None:
        self._paused.remove(engine)  # first: a cancelled call resumes it nevertheless
        await engine.actor.resume.remote()

    async def _join(self, engines: list[EngineHandle]) -> None:
        """Form the transfer group: the learner's first rank, then every worker of every engine."""
        if not self._manifest:
            self._manifest = await self.learners.manifest()
            self._bytes = sum(entry.nbytes for entry in self._manifest)
        self._joined, self._groups = list(engines), self._groups + 1
        workers = gpus_per_engine(self.config)
        host, port = await self.learners.address()
        self._meeting = meeting = Rendezvous(
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

    async def _transfer(self, engines: list[EngineHandle], version: int) -> tuple[Proof, dict[EngineHandle, Seen]]:
        """Send the weights: what was sent, and what every engine then has."""
        manifest = self._manifest

        def update(engine: EngineHandle) -> Awaitable[Seen]:
            self._begins(engine)
            updated: Awaitable[Seen] = engine.actor.update.remote(manifest, version)
            return updated

        proofs, *found = await self._exchange("transfer", update, self.learners.all("send"))
        sent: Proof = proofs[0]
        unproven = [entry.name for entry in manifest if entry.name not in sent]
        if unproven:
            raise LearnerFailed(f"the learner sent no digest of {', '.join(unproven[:5])} ({len(unproven)} of {len(manifest)} tensors)")
        for engine in engines:
            self._half_done.remove(engine)
            self._updating.remove(engine)
        return sent, dict(zip(engines, found, strict=True))

    def _verify(self, sent: Proof, seen: dict[EngineHandle, Seen]) -> None:
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
        with self.spans.within(PUBLISH, stage, "publish"):
            answers = await asyncio.gather(*(answer(engine, call(engine), self.deadline_s) for engine in engines))
        for found in answers:
            if isinstance(found, Failure):
                self._bury(found.who, found.error)
        return answers

    async def _exchange(self, stage: str, call: Call, learning: Awaitable[list[Any]]) -> list[Any]:
        """A stage in which learner and engines wait for each other: all answers, the ranks' first, or an error that blames who broke it."""
        if self.on_exchange is not None:
            self.on_exchange(stage)
        meeting = self._meeting
        assert meeting is not None, "a group is formed before its members exchange anything"
        calls = [answer(None, learning), *(answer(engine, call(engine), self.deadline_s) for engine in self._joined)]
        self._exchanging = True  # still so after a cancelled publish
        with self.spans.within(PUBLISH, stage, "publish"):
            learned, *answers = await exchanged(calls, lambda: self.call_back(meeting))
        self._exchanging = False
        blamed = culprits([found for found in (learned, *answers) if isinstance(found, Failure)])
        if isinstance(learned, Failure) and learned in blamed:
            late = [failure.who.name for failure in blamed if failure is not learned]
            beside = f" ({', '.join(late)} did not answer either)" if late else ""
            raise LearnerFailed(f"the learner failed at '{stage}': {last_line(learned.error)}{beside}") from learned.error
        if blamed:
            raise PublishFailed("; ".join(self._blame(stage, failure) for failure in blamed)) from blamed[0].error
        return [learned, *answers]

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
        for names in (self._paused, self._half_done, self._updating):
            if engine in names:
                names.remove(engine)
