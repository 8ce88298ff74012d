"""A run at work whose engines are there as soon as they are wanted, with the driver's and the user's side of `gatewise engines`."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.record.run_dir import lock_run_dir, write_config
from cluster.record.scaling.files import REQUEST, new_request, write
from cluster.record.scaling.scaling import Scaling
from configs.schema import Config
from tests.toys.run import run_config


@dataclass
class ToyEngine:
    """An engine as the driver's pool shows it."""

    index: int
    life: int = 0
    health: str = "serving"

    @property
    def name(self) -> str:
        return f"engine {self.index}"


@dataclass
class ToyFleet:
    """Engines that are there as soon as they are wanted, on a cluster that holds `hold` of them."""

    wanted: int
    hold: int = 6
    engines: list[ToyEngine] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.engines = [ToyEngine(index) for index in range(self.wanted)]

    def want(self, count: int) -> None:
        self.asked.append(count)
        self.wanted = count
        self.engines = [ToyEngine(index) for index in range(min(count, self.hold))]

    def room(self) -> int:
        return self.hold - len(self.engines)

    def most(self) -> int:
        return self.hold

    def address_of(self, index: int) -> str | None:
        return f"10.0.0.{index + 1}"


class Site:
    """A run at work: its config, its toy fleet, and what its driver said."""

    def __init__(self, folder: Path, engines: Any, **sections: Any) -> None:
        self.config: Config = run_config(folder, rollout={"engines": engines, "groups_per_step": 8}, **sections)
        self.fleet = ToyFleet(self.config.rollout.fewest_engines)
        self.said: list[str] = []
        self.scaling = Scaling(self.config, self.fleet, lambda: self.fleet.engines, self.fleet, lambda: 7, self.said.append)
        write_config(self.config)

    def while_it_works(self, work: Callable[[], Any]) -> Any:
        """What a user's thread returns or raises while the driver holds the lock and looks for requests."""

        async def drive() -> Any:
            async with self.scaling.working():
                return await asyncio.to_thread(work)

        with lock_run_dir(self.config):
            return asyncio.run(drive())

    def look(self, times: int = 1) -> None:
        async def looks() -> None:
            for _ in range(times):
                await self.scaling.look()

        asyncio.run(looks())

    def request(self, count: Any) -> None:
        write(self.config.run_dir, REQUEST, new_request(count))
