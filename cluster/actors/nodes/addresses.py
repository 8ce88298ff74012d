"""Asks each engine and each rank for the address of its node."""

import asyncio

import ray

from cluster.actors.died import has_died
from cluster.actors.engines import EngineHandle
from cluster.actors.fleet.handle import EngineGone
from cluster.actors.start import Actors


async def nodes_of(actors: Actors) -> dict[str, str]:
    """The address of each node, by the name of the log of the engine or rank on it; an engine that dies or hangs is buried."""
    pool = actors.engines
    engines, deadline = pool.alive, float(pool.config.run.deadline_s)

    async def node_of(engine: EngineHandle) -> str | None:
        try:
            return str(await engine.answer(engine.actor.ready.remote(), deadline))
        except EngineGone:
            return None
        except TimeoutError as error:
            pool.bury(engine, error)
        except ray.exceptions.RayError as error:
            if not has_died(error):
                raise
            pool.bury(engine, error)
        return None

    there = await asyncio.gather(*map(node_of, engines))
    ranks = await actors.learners.all("node")
    by_engine = {f"engine-{engine.index}": node for engine, node in zip(engines, there, strict=True) if node is not None}
    return by_engine | {f"learner-{rank}": str(node) for rank, node in enumerate(ranks)}
