"""A publish, from pause to resume with its proof, against a bare gloo broadcast of the same bytes between two processes."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from itertools import count
from typing import Any

from benchmarks.peer import Peer, Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env, ray_session
from cluster.actors.start import Actors, start_actors
from cluster.publish.publisher import Publisher
from configs.loader import load
from configs.schema import Config

STAGES = ("pause", "start", "transfer", "finish", "resume")


def measure(size: Size) -> list[Row]:
    """Rounds of one publish and one broadcast each."""
    overrides = [f"run.dir={OUT / 'publish'}"]
    env = learner_env(load(CONFIG, overrides), gpu=False)
    with peers({"publish.run": {}, "broadcast.root": env, "broadcast.leaf": env}, overrides) as on:
        tensors = on["run"].ask(what="tensors")["bytes"]
        port = on["root"].ask(what="address")["port"]
        together(on, what="join", port=port, tensors=tensors)
        found = alternate({"publish": lambda _: on["run"].ask(what="publish"), "broadcast": lambda _: together(on, what="send")}, size)
    ours, bare = found["publish"], [answer["seconds"] for answer in found["broadcast"]]
    parts = [*STAGES, "rest"]
    return [
        ratio("publish / bare broadcast", [answer["seconds"] for answer in ours], bare),
        *(ratio(f"of which {part}", [answer[part] for answer in ours], bare) for part in parts),
        figures("publish", "s", ours, "seconds"),
        *(figures(f"of which {part}", "s", ours, part) for part in parts),
        figures("one empty call of the engine's actor", "s", ours, "call"),
        figures("bare broadcast", "s", found["broadcast"], "seconds"),
        figures("digests of the same tensors, once", "s", found["broadcast"], "digest"),
        Row(what="weights", unit="MB", values=[sum(tensors) / 1e6]),
    ]


def together(on: dict[str, Peer], **job: Any) -> dict[str, Any]:
    """Run both ends of the bare broadcast at the same time; the root's answer."""
    for end in ("root", "leaf"):
        on[end].tell(**job)
    return {end: on[end].hear() for end in ("root", "leaf")}["root"]


class TimedPublisher(Publisher):
    """A publisher that measures the seconds of each stage."""

    seconds: dict[str, float]

    async def _each(self, stage: str, *args: Any) -> list[Any]:
        started = time.perf_counter()
        answers = await super()._each(stage, *args)
        self.seconds[stage] = time.perf_counter() - started
        return answers

    async def _exchange(self, stage: str, *args: Any) -> list[Any]:
        started = time.perf_counter()
        answers = await super()._exchange(stage, *args)
        self.seconds[stage] = time.perf_counter() - started
        return answers


@contextmanager
def run(config: Config) -> Iterator[Work]:
    """Engine, learner and publisher as in a run."""

    async def publish(actors: Actors, publisher: TimedPublisher, version: int) -> dict[str, Any]:
        (engine,) = actors.engines.alive
        started = time.perf_counter()
        await _wait(engine.actor.ready.remote())
        called = time.perf_counter()
        publisher.seconds = {}
        published = await publisher.publish(version)
        parts = {stage: publisher.seconds[stage] for stage in STAGES}
        rest = published.seconds - sum(parts.values())
        return {"seconds": published.seconds, "call": called - started, "rest": rest, **parts}

    async def work(job: dict[str, Any]) -> dict[str, Any]:
        if job["what"] == "tensors":
            return {"bytes": [entry.nbytes for entry in await actors.learners.manifest()]}
        return await publish(actors, publisher, next(versions))

    with ray_session(config), asyncio.Runner() as runner:
        stack, versions = AsyncExitStack(), count()
        try:
            actors = runner.run(stack.enter_async_context(start_actors(config, on_retry=lambda group_id: None)))
            publisher = TimedPublisher(config, actors.engines, actors.learners, actors.transport)
            yield lambda job: runner.run(work(job))
        finally:
            runner.run(stack.aclose())


async def _wait(call: Any) -> None:
    await call
