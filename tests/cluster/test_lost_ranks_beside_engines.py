"""Ranks that are lost while they share GPUs with engines, at every arrow of the turns: new ones find room, and the engines answer again."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cluster.actors.engines import EnginePool
from cluster.actors.learners import Learners
from cluster.causes.lost import lost_rank
from cluster.loop.attempts import Attempts
from cluster.publish.turns import open_publisher
from configs.errors import RunFailed
from rollout.transfer.transport import choose_transport
from tests.toys.publish import Network, ToyActor, kill
from tests.toys.run import run_config
from tests.toys.turns import Gpu, SharingEngine, SharingRank

DEADLINE_S = 0.6


class DroppingEngine(SharingEngine):
    async def abort_all(self) -> None: ...


class StartingRank(SharingRank):
    """A rank that takes its memory when it starts."""

    async def start(self, host: str, port: int) -> str:
        await self.unpark()
        return host

    async def ping(self) -> None: ...


class Site:
    """Two engines, each with a rank on its GPU, in the engines' turn."""

    def __init__(self, folder: Path) -> None:
        run, sizes = {"deadline_s": DEADLINE_S, "max_staleness": 0}, {"ranks": 2, "restarts": 3}
        config = run_config(folder, run=run, rollout={"engines": 2}, learner=sizes, placement={"share": True})
        transport = choose_transport(config, gpu=False)
        self.network, self.gpu, self.said = Network(transport.deadline_s), Gpu(), list[str]()
        self.engines = [DroppingEngine(self.network, self.gpu, index) for index in range(2)]
        pool = EnginePool(config, [ToyActor(engine) for engine in self.engines], lambda _: None, kill=kill, say=self.said.append)
        self.faults: list[dict[str, str]] = []  # of the second rank of each further start
        self.learners = Learners(config, self.spawn(), share=lambda shared: shared, spawn=self.spawn, kill=self.end)
        self.publisher = open_publisher(config, pool, self.learners, transport)
        self.attempts = Attempts(config, pool, self.learners, self.publisher, self.said.append)

    def spawn(self) -> list[ToyActor]:
        self.ranks = [StartingRank(self.network, self.gpu, rank) for rank in range(2)]
        if self.faults:
            self.ranks[1].faults.update(self.faults.pop(0))
        return [ToyActor(rank) for rank in self.ranks]

    def end(self, actor: Any) -> None:
        kill(actor)
        self.gpu.drop(("rank", actor.behind.rank))

    async def step(self, version: int) -> None:
        self.ranks[0].value = version
        await self.learners.take_turn()
        await self.learners.all("step", None, None, None)
        await self.learners.snapshot()
        await self.publisher.publish(version)


@pytest.mark.parametrize(
    ("method", "how", "again"),
    [
        *((method, "die", {}) for method in ("unpark", "step", "snapshot", "join_transfer", "send", "park")),
        ("step", "hang", {}),
        ("send", "hang", {"send": "die"}),
        ("step", "die", {"start": "die"}),
        ("send", "die", {"park": "hang"}),
    ],
    ids=str,
)
def test_new_ranks_find_room_and_every_engine_answers_again(tmp_path: Path, method: str, how: str, again: dict[str, str]) -> None:
    async def run() -> None:
        site = Site(tmp_path)
        if method != "join_transfer":
            await site.step(1)
        site.ranks[1].faults[method] = how
        with pytest.raises(RunFailed) as raised:
            await site.step(2)
        assert lost_rank(raised.value)
        site.faults = [again] if again else []
        await site.attempts.next(raised.value)
        assert len(site.said) == site.attempts.restarts == 1 + bool(again), site.said
        await site.step(1)
        assert [await engine.respond() for engine in site.engines] == [1, 1]

    asyncio.run(run())
