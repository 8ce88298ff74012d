"""Tokens per second of longer responses of a model of 57 million parameters, in a run's actors against bare `vllm.LLM.generate`.

Every side gets the same requests with the same seeds. The recording side also returns the experts of every token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from benchmarks import rollout_sides
from benchmarks.mixture import write_mixture
from benchmarks.peer import Work, peers
from benchmarks.rounds import CONFIG, OUT, Row, Size, alternate, figures, ratio
from benchmarks.routing import changed
from cluster.actors.session import engine_env
from configs.loader import load
from configs.schema import Config

BARE = "vllm.LLM"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Responses of one length."""

    length: int  # tokens at most
    groups: int  # of eight
    rounds: int  # at most: one takes up to a minute
    ends: bool = False  # whether responses may end before


CASES = (
    Case(length=128, groups=16, rounds=9, ends=True),
    Case(length=512, groups=4, rounds=9),
    Case(length=2048, groups=1, rounds=5),
)


def measure(size: Size) -> list[Row]:
    """Rounds of each case, in turns."""
    return [row for case in CASES for row in measure_case(case, size)]


def measure_case(case: Case, size: Size) -> list[Row]:
    """Rounds of one step's requests through each way to vLLM."""
    folder = write_mixture(ends=case.ends)
    overrides = [
        f"run.dir={OUT / 'rollout_long'}",
        f"model.path={folder}",
        f"rollout.groups_per_step={case.groups}",
        f"rollout.max_response_tokens={case.length}",
        "learner.updates_per_step=1",
    ]
    env = engine_env(load(CONFIG, overrides), gpu=False)
    with peers({"rollout_sides.bare": env, "rollout_sides.actors": {}, "rollout_long.recording": {}}, overrides) as on:
        found = alternate(
            {
                BARE: lambda number: on["bare"].ask(number=number),
                "actors": lambda number: on["actors"].ask(number=number),
                "recording": lambda number: on["recording"].ask(number=number),
            },
            replace(size, warm_up=1, rounds=min(size.rounds, case.rounds)),
        )
    speeds = {side: [answer["tokens"] / answer["seconds"] for answer in answers] for side, answers in found.items()}
    tokens = {side: [float(answer["tokens"]) for answer in answers] for side, answers in found.items()}
    what = f"{case.groups} x 8 responses of {'up to ' if case.ends else ''}{case.length} tokens"
    return [
        *(ratio(f"{what}: {side} / {BARE}, tokens/s", speeds[side], speeds[BARE]) for side in ("actors", "recording")),
        *(ratio(f"{what}: tokens made, {side} / {BARE}", tokens[side], tokens[BARE]) for side in ("actors", "recording")),
        *(figures(f"{what}: {side}", "s", answers, "seconds") for side, answers in found.items()),
    ]


@contextmanager
def recording(config: Config) -> Iterator[Work]:
    """A run's actors, which return the experts of every token."""
    with rollout_sides.actors(changed(config, "rollout", capture_routing=True)) as work:
        yield work
