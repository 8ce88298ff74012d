"""Asks each engine and each rank for the address of its node."""

import asyncio

from cluster.actors.engines import EngineHandle
from cluster.actors.start import Actors
from cluster.causes.roles import RoleLate


async def nodes_of(actors: Actors) -> dict[str, str]:
    """The address of each node, by the name of the log of the engine or rank on it; RoleLate for one that hangs."""
    engines, deadline = actors.engines.alive, float(actors.engines.config.run.deadline_s)

    async def node_of(engine: EngineHandle) -> str:
        try:
            async with asyncio.timeout(deadline):
                return str(await engine.actor.ready.remote())
        except TimeoutError as error:
            raise RoleLate(engine.role, "did not name its node", deadline) from error

    there = await asyncio.gather(*map(node_of, engines))
    ranks = await actors.learners.all("node")
    by_engine = {f"engine-{engine.index}": node for engine, node in zip(engines, there, strict=True)}
    return by_engine | {f"learner-{rank}": str(node) for rank, node in enumerate(ranks)}
