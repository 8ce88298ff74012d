"""Engines and ranks on the same toy GPUs, which refuse what a GPU cannot do: hold an awake engine and a rank's states at once."""

import asyncio
from typing import Any

from tests.toys.publish import Network, ToyEngine, ToyRank

CACHE, WEIGHTS = "kv_cache", "weights"


class Gpu:
    """Who holds memory of the GPUs. An engine's cache and the ranks' states do not fit beside each other."""

    def __init__(self) -> None:
        self.holders: set[Any] = set()
        self.log: list[str] = []

    def take(self, who: Any) -> None:
        self.holders.add(who)
        kinds = {kind for kind, _ in self.holders}
        assert not {"cache", "rank"} <= kinds, f"out of memory: {sorted(map(str, self.holders))}"

    def drop(self, who: Any) -> None:
        self.holders.discard(who)


class SharingEngine(ToyEngine):
    """An engine that loses its weights in its sleep."""

    def __init__(self, network: Network, gpu: Gpu, index: int) -> None:
        super().__init__(network)
        self.gpu, self.index = gpu, index
        self.woken = {WEIGHTS, CACHE}
        gpu.take(("cache", index))

    async def pause(self) -> None:
        raise AssertionError("an engine that sleeps is not paused as well")

    async def resume(self) -> None:
        raise AssertionError("requests go on once the cache is awake")

    async def sleep(self, level: int) -> None:
        self.gpu.log.append(f"engine {self.index} sleeps")
        assert level == 2
        assert self.woken == {WEIGHTS, CACHE}, "vLLM would only warn"
        self.woken, self.paused = set(), True
        self.weights = {name: -1 - place for place, name in enumerate(self.weights)}
        self.gpu.drop(("cache", self.index))

    async def wake(self, tags: list[str]) -> None:
        self.gpu.log.append(f"engine {self.index} wakes {tags[0]}")
        assert len(tags) == 1
        assert not set(tags) & self.woken, "vLLM would only warn"
        if tags == [CACHE]:
            self.gpu.take(("cache", self.index))
            assert len(set(self.weights.values())) == 1, "half old and half new"
        self.woken |= set(tags)
        if self.woken == {WEIGHTS, CACHE}:
            self.paused = False

    async def start_update(self) -> None:
        assert WEIGHTS in self.woken
        await super().start_update()

    async def respond(self) -> int:
        """The version of an answer."""
        assert self.woken == {WEIGHTS, CACHE}, "a request reached an engine that sleeps"
        assert not self.paused
        return self.version


class SharingRank(ToyRank):
    """A rank whose states are in host memory, or on the GPU."""

    sends = True

    def __init__(self, network: Network, gpu: Gpu, rank: int) -> None:
        super().__init__(network)
        self.gpu, self.rank, self.parked = gpu, rank, True

    async def park(self) -> None:
        self.gpu.log.append(f"rank {self.rank} parks")
        assert not self.parked
        self.parked = True
        self.gpu.drop(("rank", self.rank))

    async def unpark(self) -> None:
        self.gpu.log.append(f"rank {self.rank} unparks")
        assert self.parked
        self.gpu.take(("rank", self.rank))
        self.parked = False

    async def work(self, name: str) -> None:
        self.gpu.log.append(f"rank {self.rank} {name}")
        assert not self.parked, f"'{name}' needs the rank's states"
        await asyncio.sleep(0)

    async def step(self, shared: Any, tokens: Any, experts: Any) -> dict[str, float]:
        await self.work("learns")
        return {}

    async def snapshot(self) -> None:
        await self.work("saves")

    async def write(self, folder: str) -> dict[str, dict[str, int | str]]:
        return {}

    async def load(self, folder: str) -> None:
        await self.work("loads")

    async def load_weights(self, folder: str, optimizer: bool) -> None:
        await self.work("loads")

    async def join_transfer(self, transport: Any, meeting: Any) -> None:
        if self.rank == 0:
            await self.join(meeting)

    async def send(self) -> dict[str, tuple[int, int]]:
        await self.work("sends")
        return await super().send() if self.rank == 0 else {}
