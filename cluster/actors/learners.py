"""The driver's view of the learner ranks: one call is a call on every rank."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.scored import GroupReference
from configs.schema import Config
from rollout.proof import Manifest
from rollout.types import GroupSummary


class Learners:
    """All ranks of the learner. A call fails as soon as one rank fails."""

    def __init__(self, config: Config, actors: Sequence[Any]) -> None:
        self.config, self.actors = config, list(actors)

    async def start(self) -> list[str]:
        """Let the ranks meet and load the model; returns the address of each rank's node."""
        host, port = await self.address()
        return await self.all("start", host, port)

    async def address(self) -> tuple[str, int]:
        """A port on the first rank's node, reserved until the group that meets there has formed."""
        host, port = await self._within(self.actors[0].address.remote(), "find an address to meet at")
        return host, port

    async def all(self, method: str, *args: Any) -> list[Any]:
        """Call `method` on every rank within the run's deadline; the ranks' answers in order."""
        calls = [getattr(actor, method).remote(*args) for actor in self.actors]
        return await self._within(asyncio.gather(*calls), method)

    async def step(self, summaries: Sequence[GroupSummary], tokens: Sequence[GroupReference]) -> dict[str, float]:
        # The references travel inside a list, so that Ray does not fetch every group to every rank.
        stats: dict[str, float] = (await self.all("step", summaries, list(tokens)))[0]
        return stats

    async def expert_load(self, stats: Mapping[str, float]) -> NDArray[np.int64] | None:
        """The tokens that each expert took in the last step [L, E], of which `stats` are the statistics; None for a dense model."""
        if "load/dead" not in stats:
            return None
        table: NDArray[np.int64] = await self._within(self.actors[0].expert_load.remote(), "report the load of its experts")
        return table

    async def manifest(self) -> Manifest:
        manifest: Manifest = (await self.all("manifest"))[0]
        return manifest

    async def save(self, folder: Path) -> None:
        await self.all("save", str(folder))

    async def load(self, folder: Path) -> None:
        await self.all("load", str(folder))

    async def load_weights(self, folder: Path, *, optimizer: bool) -> None:
        """Begin anew from the weights of a checkpoint, and from its optimizer's moments if asked."""
        await self.all("load_weights", str(folder), optimizer)

    async def export(self, folder: Path) -> None:
        await self.all("export", str(folder))

    async def _within(self, call: Any, what: str) -> Any:
        deadline = float(self.config.run.deadline_s)
        try:
            async with asyncio.timeout(deadline):
                return await call
        except TimeoutError as error:
            raise TimeoutError(f"the learner did not finish '{what}' within run.deadline_s ({deadline:g} s)") from error
