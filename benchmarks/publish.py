"""A publish, from its begin to the resumed engines with their proofs, against a bare gloo broadcast of the same bytes to as many processes.

A model of 4 MB to one engine, and one of 227 MB to one and to two.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

from benchmarks.mixture import LAYERS, folder_of, write_mixture
from benchmarks.peer import Peer, Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import learner_env, ray_session
from cluster.actors.start import Actors, start_actors
from cluster.publish.publisher import Publisher
from configs.loader import load
from configs.schema import Config

PARTS = ("transfer", "resume", "rest")


@dataclass(frozen=True, slots=True)
class Case:
    """A model, and how many engines get it."""

    name: str
    engines: int
    mixture: bool = False  # of 57M parameters; else the tiny model

    @property
    def overrides(self) -> list[str]:
        model = [f'model.path="{folder_of(LAYERS)}"'] if self.mixture else []
        return [f"run.dir={OUT / 'publish'}", f"rollout.engines={self.engines}", f"rollout.cpus_per_engine={1 / self.engines}", *model]


CASES = (Case("4 MB", 1), Case("227 MB", 1, mixture=True), Case("227 MB to 2 engines", 2, mixture=True))


def measure(size: Size) -> list[Row]:
    """Rounds of one publish and one broadcast each, for every case."""
    write_mixture()
    return [row for case in CASES for row in measure_case(case, size)]


def measure_case(case: Case, size: Size) -> list[Row]:
    """The rows of one case."""
    env = learner_env(load(CONFIG, case.overrides), gpu=False)
    leaves = {f"broadcast.leaf{number}": env for number in range(1, case.engines + 1)}
    with peers({"publish.run": {}, "broadcast.root": env, **leaves}, case.overrides) as on:
        tensors = on["run"].ask(what="tensors")["bytes"]
        port = on["root"].ask(what="address")["port"]
        ends = {name: end for name, end in on.items() if name != "run"}
        together(ends, what="join", port=port, tensors=tensors, world=len(ends))
        found = alternate({"publish": lambda _: on["run"].ask(what="publish"), "broadcast": lambda _: together(ends, what="send")}, size)
    ours, bare = found["publish"], [answer["seconds"] for answer in found["broadcast"]]
    rows = [
        ratio("publish / bare broadcast", [answer["seconds"] for answer in ours], bare),
        *(ratio(f"of which {part}", [answer[part] for answer in ours], bare) for part in PARTS),
        ratio("engines paused / transfer", [answer["paused"] for answer in ours], [answer["transfer"] for answer in ours]),
        figures("publish", "s", ours, "seconds"),
        *(figures(f"of which {part}", "s", ours, part) for part in PARTS),
        figures("one empty call of the engine's actor", "s", ours, "call"),
        figures("bare broadcast", "s", found["broadcast"], "seconds"),
        figures("digests of the same tensors, once", "s", found["broadcast"], "digest"),
        Row(what="weights", unit="MB", values=[sum(tensors) / 1e6]),
    ]
    return [Row(what=f"{case.name}: {row.what}", unit=row.unit, values=row.values) for row in rows]


def together(ends: dict[str, Peer], **job: Any) -> dict[str, Any]:
    """Run all ends of the bare broadcast at the same time; the root's answer."""
    for end in ends.values():
        end.tell(**job)
    return {name: end.hear() for name, end in ends.items()}["root"]


class TimedPublisher(Publisher):
    """A publisher that measures the seconds of each stage, and when engines are paused."""

    def begin(self) -> None:
        self.seconds: dict[str, float] = {}
        self.paused = self.resumed = 0.0

    async def _each(self, stage: str, *args: Any) -> list[Any]:
        started = time.perf_counter()
        answers = await super()._each(stage, *args)
        self.resumed = time.perf_counter()
        self.seconds[stage] = self.resumed - started
        return answers

    async def _exchange(self, stage: str, *args: Any) -> list[Any]:
        self.paused = time.perf_counter()
        answers = await super()._exchange(stage, *args)
        self.seconds[stage] = time.perf_counter() - self.paused
        return answers


@contextmanager
def run(config: Config) -> Iterator[Work]:
    """Engines, learner and publisher as in a run."""

    async def publish(actors: Actors, publisher: TimedPublisher, version: int) -> dict[str, Any]:
        engine, *_ = actors.engines.alive
        started = time.perf_counter()
        await _wait(engine.actor.ready.remote())
        called = time.perf_counter()
        publisher.begin()
        published = await publisher.publish(version)
        parts = {part: publisher.seconds[part] for part in PARTS if part != "rest"}
        rest = published.seconds - sum(parts.values())
        paused = publisher.resumed - publisher.paused
        return {"seconds": published.seconds, "call": called - started, "rest": rest, "paused": paused, **parts}

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
