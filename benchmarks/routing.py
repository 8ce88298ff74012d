"""The cost of routing replay: recording experts in the engine and replaying them in the learner, each against the same work without.

Engines answer the same requests with the same seeds, a step's worth a round. Learners learn the same recorded groups; the experts that
are replayed are those the learner itself would choose, so that every side computes the same and only the bookkeeping differs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from benchmarks import learner, rollout_sides
from benchmarks.peer import Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from cluster.actors.session import engine_env, learner_env
from configs.loader import load
from configs.schema import Config
from rollout.types import Group

LEARNERS = ("live", "replay_learner", "replay_rollout")


def measure(size: Size) -> list[Row]:
    """Engines first, then learners, so that they do not compete for cores."""
    return [*_engines(size), *_learners(size)]


def _engines(size: Size) -> list[Row]:
    overrides = [f"run.dir={OUT / 'routing'}"]
    env = engine_env(load(CONFIG, overrides), gpu=False)
    with peers({"rollout_sides.engine": env, "routing.capturing": env}, overrides) as on:
        found = alternate({side: lambda number, side=side: on[side].ask(number=number) for side in ("engine", "capturing")}, size)  # type: ignore[misc]
    speeds = {side: [answer["tokens"] / answer["seconds"] for answer in answers] for side, answers in found.items()}
    return [
        ratio("engine that captures routing / engine, tokens/s", speeds["capturing"], speeds["engine"]),
        Row(what="engine", unit="tokens/s", values=speeds["engine"]),
    ]


def _learners(size: Size) -> list[Row]:
    overrides = [f"run.dir={OUT / 'routing'}"]
    env = learner_env(load(CONFIG, overrides), gpu=False)
    with peers({f"routing.{side}": env for side in LEARNERS}, overrides) as on:
        found = alternate({side: lambda _, side=side: on[side].ask() for side in LEARNERS}, size)  # type: ignore[misc]
    seconds = {side: [float(answer["seconds"]) for answer in answers] for side, answers in found.items()}
    return [
        *(ratio(f"Learner.step, {side} / live without captured routing", seconds[side], seconds["live"]) for side in LEARNERS[1:]),
        figures("Learner.step, live", "s", found["live"], "seconds"),
    ]


def changed(config: Config, section: str, **values: Any) -> Config:
    """The config with some keys of a section changed."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=values)})


@contextmanager
def capturing(config: Config) -> Iterator[Work]:
    """Gatewise's engine in this process, returning routed experts."""
    with rollout_sides.engine(changed(config, "rollout", capture_routing=True)) as work:
        yield work


@contextmanager
def live(config: Config) -> Iterator[Work]:
    """The learner without recordings and replay."""
    with learner.gatewise(config) as work:
        yield work


@contextmanager
def replay_learner(config: Config) -> Iterator[Work]:
    """The learner replaying the experts that it recorded at the start of the step."""
    with learner.gatewise(changed(config, "learner", routing="replay_learner")) as work:
        yield work


@contextmanager
def replay_rollout(config: Config) -> Iterator[Work]:
    """The learner replaying experts that the responses bring."""
    with learner.gatewise(changed(config, "learner", routing="replay_rollout"), with_experts) as work:
        yield work


def with_experts(groups: list[Group], of: Any) -> list[Group]:
    """The groups with the experts that the learner `of` chooses, as an engine returns them."""
    import torch

    from learner.batch.fetched import fetch_all
    from learner.batch.row import Row as Planned
    from learner.batch.tensors import build_batch
    from learner.experts.routing import Recorder

    found = []
    for group in groups:
        prompt = len(group.prompt.token_ids)
        rows = [
            Planned(group=0, member=i, advantage=0.0, weight=0.0, prompt_tokens=prompt, tokens=prompt + len(response))
            for i, response in enumerate(group.responses)
        ]
        recorder = Recorder(torch.uint8)
        batch = build_batch(rows, fetch_all([group], rows), 0)
        with torch.no_grad():
            of.zero(batch, None, (recorder,))
        experts = recorder.recording(batch.attention).experts.numpy()
        responses = tuple(
            replace(response, routed_experts=experts[i, : row.tokens - 1].copy())
            for i, (row, response) in enumerate(zip(rows, group.responses, strict=True))
        )
        found.append(replace(group, responses=responses))
    return found
