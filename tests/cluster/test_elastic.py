"""Two engines become four, then one, and one moves off a dead node: request, fleet and places together, on a toy cluster."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.actors import placement
from cluster.actors.engines import EnginePool
from cluster.actors.fleet import fleet as fleets
from cluster.actors.fleet import restarts, watch
from cluster.actors.fleet.fleet import Fleet
from cluster.actors.placement import reserve
from cluster.actors.places.apart import Places
from cluster.record.run_dir import lock_run_dir, write_config
from cluster.record.scaling import asking, scaling
from cluster.record.scaling.asking import ask, status_of
from cluster.record.scaling.files import Status
from cluster.record.scaling.scaling import Scaling
from configs.errors import InputError
from rollout.engine.pulse import Pulse
from tests.toys.places import ToyCluster
from tests.toys.publish import ToyActor
from tests.toys.publish import kill as let_die
from tests.toys.run import run_config


class Core:
    """An engine that is up at once and has nothing to do."""

    def __init__(self) -> None:
        self.faults: dict[str, str] = {}
        self.slow: dict[str, float] = {}
        self.calls: list[str] = []
        self.steps = 0

    async def ready(self) -> str:
        return "10.0.0.1"

    async def pulse(self) -> Pulse:
        self.steps += 1
        return Pulse(tokens=0, steps=self.steps, beats=self.steps, requests=0, paused=False)


class Run:
    """The driver of a run with real places, pool, fleet and scaling."""

    def __init__(self, folder: Path, engines: Any) -> None:
        self.config = run_config(folder, rollout={"engines": engines, "groups_per_step": 8, "restarts": 5}, learner={"ranks": 1})
        write_config(self.config)
        places = reserve(self.config, [].append)
        assert isinstance(places, Places)
        self.places = places
        self.said: list[str] = []
        self.actors: dict[int, ToyActor] = {}
        self.pool = EnginePool(self.config, [], lambda _: None, kill=let_die, say=self.said.append)
        self.fleet = Fleet(self.pool, places, self.launch, self.end, wanted=places.engines)
        self.scaling = Scaling(self.config, self.fleet, lambda: self.pool.engines, places, lambda: 5, self.said.append)

    def launch(self, index: int) -> ToyActor:
        self.places.options(index, {})  # KeyError without a place
        self.actors[index] = ToyActor(Core())
        return self.actors[index]

    async def end(self, actor: ToyActor) -> None:
        let_die(actor)

    async def publishes(self) -> None:
        """As the controller, again and again."""
        while True:
            for engine in self.pool.alive:
                self.pool.proven(engine)
            await asyncio.sleep(0.02)

    def drive(self, work: Callable[[], Any]) -> Any:
        """What `work` returns in a thread of the user's, while the driver works."""

        async def main() -> Any:
            for index in range(self.places.engines):
                await self.fleet.start(index)
            self.fleet.begin()
            publishing = asyncio.create_task(self.publishes())
            async with self.scaling.working():
                try:
                    return await asyncio.to_thread(work)
                finally:
                    publishing.cancel()
                    await self.fleet.close()
                    self.places.give_back()

        with lock_run_dir(self.config):
            return asyncio.run(main())

    def until(self, holds: Callable[[Status], bool]) -> Status:
        """The first status of which that is true."""
        for _ in range(500):
            try:
                if holds(status := status_of(self.config.run_dir)):
                    return status
            except InputError:  # it has written none yet
                pass
            asking.time.sleep(0.01)
        raise AssertionError(f"it never came true: {status_of(self.config.run_dir)}, {self.said}")


def serving(count: int) -> Callable[[Status], bool]:
    return lambda status: [engine.health for engine in status.engines if engine.health != "dead"] == ["serving"] * count


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ToyCluster:
    toy = ToyCluster(a={"CPU": 9.0, "GPU": 3.0}, b={"CPU": 9.0, "GPU": 2.0}).installed(monkeypatch)
    monkeypatch.setattr(placement, "cluster_nodes", lambda: list(toy.nodes.values()))
    for module, names in (
        (scaling, ("LOOK_S", "ROOM_S")),
        (asking, ("LOOK_S",)),
        (fleets, ("LOOK_S",)),
        (watch, ("OFTEN_S",)),
        (restarts, ("PAUSE_S",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, 0.01)
    (tmp_path / "run").mkdir()
    return toy


def test_two_engines_become_four_then_one_and_what_they_leave_is_free(cluster: ToyCluster, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 2)

    def work() -> None:
        run.until(serving(2))
        ask(run.config.run_dir, 4, 10.0)
        four = run.until(serving(4))
        assert sorted(engine.node for engine in four.engines) == ["10.0.0.a", "10.0.0.a", "10.0.0.b", "10.0.0.b"]
        assert len(cluster.groups) == 5
        with pytest.raises(InputError, match="got 5, needed 1 to 4: the nodes of the cluster hold 4 engines beside the ranks"):
            ask(run.config.run_dir, 5, 10.0)
        ask(run.config.run_dir, 1, 10.0)
        run.until(lambda status: [engine.health for engine in status.engines] == ["serving"])
        while len(cluster.groups) > 2:
            asking.time.sleep(0.01)

    run.drive(work)
    assert cluster.groups == []


def test_an_engine_leaves_a_dead_node_and_a_new_node_gets_engines(cluster: ToyCluster, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", {"min": 1, "max": 6})
    assert run.places.engines == 4

    def work() -> None:
        run.until(serving(4))
        assert run.places.nodes()[4:] == ["b"], "the rank is elsewhere"
        gone = [index for index in range(4) if run.places.homes[index].node == "a"]
        cluster.nodes["c"] = {"CPU": 9.0, "GPU": 6.0}
        run.until(serving(6))
        del cluster.nodes["a"]
        for index in gone:
            let_die(run.actors[index])
        moved = run.until(lambda status: serving(6)(status) and "10.0.0.a" not in [engine.node for engine in status.engines])
        assert [engine.life for engine in moved.engines if engine.place in gone] == [1, 1, 1]

    run.drive(work)
    assert "the nodes have room for more engines: 6 wanted, 4 before" in run.said
