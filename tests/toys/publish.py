"""Engines and learner ranks that exchange toy weights as the real ones do: in collectives that strand whoever waits in vain."""

import asyncio
from types import SimpleNamespace
from typing import Any

import ray

from rollout.transfer.proof import Entry, Manifest
from rollout.transfer.transport import Rendezvous, Seat, Transport

NAMES = ("embedding", "experts", "head")
DEADLINE_S = 0.3


class ToyActor:
    """Stands for a Ray handle: each method of the object behind it has a `.remote`, and none answers once it was killed."""

    def __init__(self, behind: Any) -> None:
        self.behind = behind
        behind.actor = self
        self.dead = asyncio.Event()
        self.asked: list[str] = []
        self.working: set[asyncio.Future[Any]] = set()

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=lambda *args: asyncio.ensure_future(self._call(name, *args)))

    async def _call(self, name: str, *args: Any) -> Any:
        self.asked.append(name)
        # Whoever asked may go away; what an actor was asked goes on.
        work, death = asyncio.ensure_future(self.work(name, *args)), asyncio.ensure_future(self.dead.wait())
        self.working.add(work)
        work.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody may be left to hear of it
        try:
            await asyncio.wait([work, death], return_when=asyncio.FIRST_COMPLETED)
            if self.dead.is_set():
                raise ray.exceptions.RayActorError(error_msg="The actor died unexpectedly.")
            return work.result()
        finally:
            death.cancel()
            if self.dead.is_set():
                work.cancel()

    async def work(self, name: str, *args: Any) -> Any:
        """A call or a part of one; the behind's faults make it fail."""
        how = self.behind.faults.get(name)
        self.behind.calls.append(name)
        if how == "raise":
            raise ValueError(f"{name} broke")
        if how == "hang":
            await asyncio.sleep(3600)
        if how == "die":
            self.dead.set()
            await asyncio.sleep(3600)
        await asyncio.sleep(getattr(self.behind, "slow", {}).pop(name, 0))
        return await getattr(self.behind, name)(*args)


def kill(actor: ToyActor) -> None:
    actor.dead.set()


class Network:
    """Where transfer groups meet: a collective ends when all its members have come, and fails for those who wait longer than `patience`.

    A group that is called back fails for all who wait, and for those who come later.
    """

    def __init__(self, patience: float | None) -> None:
        self.patience = patience
        self.called_back: list[str] = []  # the names of groups
        self.missing: dict[Any, int] = {}
        self.complete: dict[Any, asyncio.Event] = {}

    async def meet(self, what: Any, world: int) -> None:
        complete = self.complete.setdefault(what, asyncio.Event())
        if what[0] in self.called_back:
            complete.set()
        self.missing[what] = self.missing.get(what, world) - 1
        assert self.missing[what] >= 0, f"more than {world} came to {what}"
        if not self.missing[what]:
            complete.set()
        try:
            async with asyncio.timeout(self.patience):
                await complete.wait()
        except TimeoutError:
            raise RuntimeError("timed out waiting for a peer") from None
        if what[0] in self.called_back and self.missing[what]:
            raise RuntimeError("called back")

    async def call_back(self, meeting: Rendezvous) -> None:
        """End the waits of a group's members."""
        self.called_back.append(meeting.name)
        for (group, *_), complete in self.complete.items():
            if group == meeting.name:
                complete.set()


class Member:
    """What both ends know of their transfer group."""

    actor: ToyActor

    def __init__(self, network: Network) -> None:
        self.network = network
        self.faults: dict[str, str] = {}
        self.slow: dict[str, float] = {}  # method -> seconds that it takes
        self.calls: list[str] = []
        self.worlds: list[int] = []
        self.free = 1 << 30  # bytes of its GPU

    async def join(self, meeting: Rendezvous) -> None:
        self.meeting, self.round = meeting, 0
        self.worlds.append(meeting.world_size)
        await self.collective("join")

    async def collective(self, what: str) -> None:
        self.round += 1
        await self.network.meet((self.meeting.name, what, self.round), self.meeting.world_size)


class ToyRank(Member):
    """A learner rank that holds one number a tensor."""

    value = 0
    proves = NAMES

    async def address(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    async def manifest(self) -> Manifest:
        return tuple(Entry(name, "float32", (2, 3)) for name in NAMES)

    async def room(self) -> int:
        return self.free

    async def join_transfer(self, transport: Transport, meeting: Rendezvous) -> None:
        await self.join(meeting)

    async def send(self) -> dict[str, tuple[int, int]]:
        self.network.sent = self.value  # type: ignore[attr-defined]
        await self.collective("transfer")
        return {name: (self.value, 1) for name in self.proves}


class ToyStandBy(ToyRank):
    """A rank that sends nothing itself."""

    async def join_transfer(self, transport: Transport, meeting: Rendezvous) -> None:
        pass

    async def send(self) -> dict[str, tuple[int, int]]:
        return {}


class ToyEngine(Member):
    """An engine that refuses what vLLM refuses, and to serve weights of two versions at once."""

    def __init__(self, network: Network) -> None:
        super().__init__(network)
        self.weights = dict.fromkeys(NAMES, -1)
        self.version, self.paused, self.updating = -1, False, False
        self.tampers: dict[str, Any] = {}
        self.incomplete: list[str] = []
        self.sure_of_seven = 0.0  # the log-prob of its last token in a probe
        self.offsets: list[int] = []

    async def probe(self, prompts: Any) -> list[tuple[list[int], list[float]]]:
        assert not self.paused, "a request to a paused engine gets no answer"
        return [([self.version, 7], [float(self.weights["head"]), self.sure_of_seven]) for _ in prompts]

    async def pause(self) -> None:
        assert not self.paused
        self.paused = True

    async def resume(self) -> None:
        assert self.paused
        assert len(set(self.weights.values())) == 1, "half old and half new"
        self.paused = False

    async def room(self) -> int:
        return self.free

    async def join_transfer(self, seat: Seat) -> None:
        self.offsets.append(seat.rank_offset)
        await self.join(seat.rendezvous)

    async def update(self, manifest: Manifest, version: int) -> Any:
        if not self.paused:
            await self.actor.work("pause")
        await self.actor.work("start_update")
        await self.actor.work("receive", manifest)
        return await self.actor.work("finish_update", version)

    async def start_update(self) -> None:
        assert self.paused
        if self.updating:
            raise RuntimeError("an update is already active")
        self.updating = True

    async def receive(self, manifest: Manifest) -> None:
        assert self.updating
        assert tuple(entry.name for entry in manifest) == NAMES
        self.weights["embedding"] = 1_000_000  # the first tensor is in before anything can go wrong
        await self.collective("transfer")
        self.weights = dict.fromkeys(NAMES, self.network.sent)  # type: ignore[attr-defined]

    async def finish_update(self, version: int) -> Any:
        assert self.updating
        self.updating, self.version = False, version
        proof = {name: (value, 1) for name, value in self.weights.items()} | self.tampers
        return [{name: digest for name, digest in proof.items() if digest is not None}], self.incomplete

    async def abandon_update(self) -> None:
        self.updating = False  # nothing to do where the driver has not heard that the update was finished
