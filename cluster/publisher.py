"""Publishing: the learner's weights become the engines' weights, or the engine that failed is named and left out.

    joined ──► paused ──► started ──► transferred ──► finished ──► verified ──► resumed
       ▲           └──────────┴────────────┴──────────────┴────────────┴──► an engine failed or was late: buried
       └── the group is rebuilt over the engines that are left, once a publish ◄─────────────────────────┘

Every arrow has the run's deadline. Engines resume in `finally`, so none stays paused.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cluster.engines import Engine, EnginePool
from cluster.learners import Learners
from configs.arithmetic import gpus_per_engine
from configs.schema import Config
from rollout.proof import Proof, differences, manifest_of

BUCKET_BYTES = 1 << 28
TRIES = 2


class PublishFailed(RuntimeError):
    """Weights did not reach the engines as they left the learner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one publish moved and cost."""

    version: int
    bytes: int
    seconds: float
    engines: int


class Publisher:
    """Owns the transfer group between learner and engines."""

    def __init__(self, config: Config, engines: EnginePool, learners: Learners, backend: str) -> None:
        self.config, self.engines, self.learners, self.backend = config, engines, learners, backend
        self._joined: list[Engine] = []
        self._groups = 0
        self._manifest: list[tuple[str, str, tuple[int, ...]]] = []
        self._bytes = 0

    async def publish(self, version: int) -> Published:
        """Bring every living engine to `version` and prove it; raises PublishFailed, when no engine is left or two tries failed."""
        started = time.perf_counter()
        failures: list[str] = []
        for _ in range(TRIES):
            if not self.engines.alive:
                break
            before = list(self.engines.alive)
            try:
                await self._try(version)
            except PublishFailed as error:
                failures.append(str(error))
                if self.engines.alive == before:
                    raise
                continue
            seconds = time.perf_counter() - started
            return Published(version=version, bytes=self._bytes, seconds=seconds, engines=len(self.engines.alive))
        raise PublishFailed(f"version {version} could not be published: " + "; then ".join(failures or ["no engine is alive"]))

    async def _try(self, version: int) -> None:
        alive = self.engines.alive
        if alive != self._joined:
            await self._join(alive)
        await self._each("pause", lambda engine: engine.actor.pause.remote())
        try:
            await self._each("start", lambda engine: engine.actor.start_update.remote())
            sent = await self._transfer()
            seen = await self._each("finish", lambda engine: engine.actor.finish_update.remote(version))
            self._verify(sent, seen)
        finally:
            for engine in [engine for engine in self._joined if engine.cause is None]:
                await self._call(engine, "resume", engine.actor.resume.remote())

    async def _join(self, engines: list[Engine]) -> None:
        """Form the transfer group: the learner's first rank, then every worker of every engine."""
        if not self._manifest:
            self._manifest = await self.learners.manifest()
            self._bytes = sum(entry.nbytes for entry in manifest_of(self._manifest))
        self._joined, self._groups = list(engines), self._groups + 1
        workers = gpus_per_engine(self.config)
        host, port = await self.learners.actors[0].address.remote()
        world = 1 + workers * len(engines)
        shared: dict[str, Any] = {"host": host, "port": port, "world_size": world}
        if self.backend == "gloo":
            shared |= {"name": f"publish-{self._groups}", "bucket_bytes": BUCKET_BYTES, "deadline_s": float(self.config.run.deadline_s)}
        joining = asyncio.ensure_future(self.learners.all("join_transfer", self.backend, shared))

        def join(engine: Engine) -> Awaitable[Any]:
            offset = 1 + workers * engines.index(engine)
            return engine.actor.join_transfer.remote(self._engine_info(shared, offset))

        await self._with_learner(joining, self._each("join", join))

    def _engine_info(self, shared: dict[str, Any], offset: int) -> dict[str, Any]:
        if self.backend == "gloo":
            return {**shared, "rank_offset": offset, "bind": shared["host"] if shared["host"] == "127.0.0.1" else ""}
        return {
            "master_address": shared["host"],
            "master_port": shared["port"],
            "world_size": shared["world_size"],
            "rank_offset": offset,
            "packed": True,
        }

    async def _transfer(self) -> Proof:
        names, dtypes, shapes = zip(*self._manifest, strict=True)
        info = {"names": list(names), "dtype_names": list(dtypes), "shapes": [list(shape) for shape in shapes]}
        sending = asyncio.ensure_future(self.learners.all("send"))
        proofs = await self._with_learner(sending, self._each("receive", lambda engine: engine.actor.receive.remote(info)))
        sent: Proof = proofs[0]
        return sent

    async def _with_learner(self, learning: "asyncio.Future[list[Any]]", engines: Awaitable[Any]) -> list[Any]:
        """Both ends at once. An engine's failure is the cause of the learner's, so it is the one that is told."""
        try:
            await engines
        except PublishFailed:
            await asyncio.wait([learning], timeout=float(self.config.run.deadline_s))
            if learning.done():
                learning.exception()
            self._joined = []
            raise
        return await learning

    def _verify(self, sent: Proof, seen: list[tuple[Engine, tuple[list[Proof], list[str]]]]) -> None:
        """Bury every engine that holds anything else than what was sent, or wrote less than its whole model."""
        faults: list[str] = []
        for engine, (proofs, incomplete) in seen:
            wrong = [fault for proof in proofs for fault in differences(sent, proof)] + [f"{layer} is incomplete" for layer in incomplete]
            if wrong:
                faults.append(f"{engine.name} failed the proof: {', '.join(wrong[:5])}")
                self.engines.bury(engine, PublishFailed(faults[-1]))
        if faults:
            raise PublishFailed("; ".join(faults))

    async def _each(self, stage: str, call: Callable[[Engine], Awaitable[Any]]) -> list[tuple[Engine, Any]]:
        """One stage on every joined engine; those that fail are buried, and named together in the error."""
        engines = list(self._joined)
        answers = await asyncio.gather(*(self._call(engine, stage, call(engine)) for engine in engines), return_exceptions=True)
        failed = [answer for answer in answers if isinstance(answer, BaseException)]
        if failed:
            raise PublishFailed("; ".join(map(str, failed))) from failed[0]
        return list(zip(engines, answers, strict=True))

    async def _call(self, engine: Engine, stage: str, call: Awaitable[Any]) -> Any:
        try:
            return await asyncio.wait_for(_ask(call), float(self.config.run.deadline_s))
        except TimeoutError as error:
            told = PublishFailed(f"{engine.name} was late at '{stage}' (run.deadline_s = {self.config.run.deadline_s})")
            self.engines.bury(engine, told)
            raise told from error
        except Exception as error:
            told = PublishFailed(f"{engine.name} failed at '{stage}': {first_line(error)}")
            self.engines.bury(engine, told)
            raise told from error


async def _ask(call: Awaitable[Any]) -> Any:
    return await call


def first_line(error: BaseException) -> str:
    """The error in a line: Ray wraps a remote traceback whose last line is what was raised."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__
