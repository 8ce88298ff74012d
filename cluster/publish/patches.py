"""Delta publishes: engines that hold the weights of the last publish get only the numbers that have changed since.

    every rank diffs its own share ──► patches, fetched by the engines ──► each checks its base, applies, proves
                                                                            └──► refused, or new: whole weights, it alone

No member waits for another one: the patches lie in Ray's object store, so an engine that dies takes nobody with it. Whole weights go to all
engines in every `rollout.full_every`-th publish, and after any failure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.actors.engines import EnginePool
from cluster.actors.fleet.handle import EngineHandle
from cluster.actors.learners import Learners
from cluster.publish.blame import Failure, answer, last_line
from cluster.publish.callback import CallBack, by_store
from cluster.publish.publisher import LearnerFailed, Published, Publisher, PublishFailed
from cluster.record.metrics.timeline.spans import PUBLISH
from configs.schema import Config
from rollout.delta.moved import RankPatch, moved_on
from rollout.transfer.proof import Proof, differences, fingerprint
from rollout.transfer.transport import Transport

OnRefused = Callable[[EngineHandle, str], object]  # gets the engine, and why it got whole weights
WORTH = 0.5  # of the bytes of whole weights; a patch that is larger is not sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """The patches of all ranks, and what they lead from and to."""

    base: str  # fingerprint of the weights that they change
    sent: Proof  # of the weights that they make
    raws: list[tuple[list[Any], tuple[int, int]]]  # of each rank: the reference to its patch, in a list, and its digest
    bytes: int


class PatchPublisher(Publisher):
    """A publisher that knows which weights each engine holds, and sends changes of them."""

    def __init__(
        self, config: Config, engines: EnginePool, learners: Learners, transport: Transport, call_back: CallBack = by_store
    ) -> None:
        super().__init__(config, engines, learners, transport, call_back)
        self.on_refused: OnRefused | None = None
        self._holders: list[EngineHandle] = []  # engines that have proven the weights `_held`
        self._held: Proof = {}
        self._deltas = 0  # publishes since the last one that brought whole weights to all engines
        self._moved = 0  # bytes of the publish under way

    async def publish(self, version: int) -> Published:
        """As `Publisher.publish`; the bytes are those that one engine of each kind received."""
        self._moved = 0
        return replace(await super().publish(version), bytes=self._moved)

    async def reset(self) -> None:
        """Forget what engines hold as well: new ranks do not know what was published last."""
        self._held = {}
        await super().reset()

    async def _abandon(self) -> None:
        self._holders, self._held = [], {}
        await super()._abandon()

    async def _bring(self, engines: list[EngineHandle], version: int) -> tuple[Proof, dict[EngineHandle, Proof]]:
        holders = [engine for engine in engines if engine in self._holders]
        if not holders or not self._held or self._deltas + 1 >= self.config.rollout.full_every:
            return await self._bring_whole(engines, engines, version)
        self._unfinished = True
        delta = await self._delta()
        if delta.bytes > WORTH * self._bytes:
            return await self._bring_whole(engines, engines, version)
        patched = await self._patch(holders, version, delta)
        rest = [engine for engine in engines if engine not in patched and engine.cause is None]
        self._held, self._holders, self._deltas = delta.sent, list(patched), self._deltas + 1
        if not rest:
            if not patched:
                raise PublishFailed("every engine failed at 'patch'")
            self._unfinished = False
            return delta.sent, patched
        sent, proven = await self._bring_whole(rest, engines, version)
        if wrong := differences(sent, delta.sent):  # the patches were not what the learner changed: nobody may serve with them
            self.say_refused(list(patched), f"the patches did not lead to the learner's weights: {', '.join(wrong[:3])}")
            return await self._bring_whole(engines, engines, version)
        await self.newcomers.admit([*patched, *rest])  # beside engines that serve already
        return sent, patched | proven

    async def _bring_whole(
        self, engines: list[EngineHandle], all_engines: Sequence[EngineHandle], version: int
    ) -> tuple[Proof, dict[EngineHandle, Proof]]:
        """Bring whole weights to some of the engines, which then hold them."""
        living = [engine for engine in engines if engine.cause is None]
        sent, proven = await super()._bring(living, version)
        self._moved += self._bytes
        if len(living) == len(all_engines):
            self._holders, self._deltas = [], 0
        self._held = sent
        self._holders = [*self._holders, *(engine for engine in proven if engine.cause is None)]
        return sent, proven

    async def _delta(self) -> Delta:
        """Ask every rank what changed in its share."""
        with self.spans.within(PUBLISH, "diff", "publish"):
            found = await answer(None, self.learners.all("patch"))
        if isinstance(found, Failure):
            raise LearnerFailed(f"the learner failed at 'diff': {last_line(found.error)}") from found.error
        patches: list[RankPatch] = found
        sent = self._held
        for patch in patches:
            sent = moved_on(sent, patch.moved)
        raws = [([patch.reference], patch.digest) for patch in patches]
        return Delta(base=fingerprint(self._held), sent=sent, raws=raws, bytes=sum(patch.bytes for patch in patches))

    async def _patch(self, engines: list[EngineHandle], version: int, delta: Delta) -> dict[EngineHandle, Proof]:
        """Patch engines; what those have proven that took it. One that fails is buried, one that refuses needs whole weights."""

        def patch(engine: EngineHandle) -> Any:
            self._begins(engine)
            return engine.actor.patch.remote(delta.base, delta.raws, version)

        self._moved += delta.bytes
        answers = await self._answers("patch", engines, patch)
        found = {engine: said for engine, said in zip(engines, answers, strict=True) if not isinstance(said, Failure)}
        if len(found) < len(engines):
            self._deltas = self.config.rollout.full_every  # after a failure whole weights follow
        for engine, (_, refused) in found.items():
            if refused:
                self.say_refused([engine], refused)
        seen = {engine: proofs for engine, (proofs, refused) in found.items() if not refused}
        self._verify(delta.sent, {engine: (proofs, []) for engine, proofs in seen.items()})
        for engine in seen:
            self._half_done.remove(engine)
            self._updating.remove(engine)
        proven = {engine: proofs[0] for engine, proofs in seen.items()}
        if proven and self.on_proven is not None:
            self.on_proven(version, delta.sent, proven)
        await self._go_on(list(proven))
        return proven

    def say_refused(self, engines: Sequence[EngineHandle], why: str) -> None:
        """Report engines that get whole weights in a publish of changes."""
        for engine in engines:
            if self.on_refused is not None:
                self.on_refused(engine, why)
