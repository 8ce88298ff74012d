"""Asks each engine and each rank for the address of its node."""

import asyncio

from cluster.actors.start import Actors


async def nodes_of(actors: Actors) -> dict[str, str]:
    """The address of each node, by the name of the log of the engine or rank on it."""
    engines = actors.engines.alive
    there = await asyncio.gather(*(engine.actor.ready.remote() for engine in engines))
    ranks = await actors.learners.all("node")
    by_engine = {f"engine-{engine.index}": str(node) for engine, node in zip(engines, there, strict=True)}
    return by_engine | {f"learner-{rank}": str(node) for rank, node in enumerate(ranks)}
