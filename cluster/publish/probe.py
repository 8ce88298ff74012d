"""The greedy probe: two engines with the same weights answer the same prompts alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

PROBES = 4
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.05}  # nats: another batch shape may round differently; a wrong weight changes far more

Answers = Sequence[tuple[Sequence[int], Sequence[float]]]  # of each prompt: the tokens and their log-probs


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """How far the answers to one prompt are apart."""

    place: int  # of the prompt
    before: list[int]
    after: list[int]
    nats: float


def compare(before: Answers, after: Answers) -> list[Difference]:
    """The difference of each pair of answers. Log-probs count up to and at the first other token; after it nothing is comparable.

    It is infinite where an answer stops inside the other one.
    """
    found = []
    for place, ((tokens, logprobs), (again, logprobs_again)) in enumerate(zip(before, after, strict=True)):
        parting = next((i for i, (a, b) in enumerate(zip(tokens, again, strict=False)) if a != b), None)
        nats = inf if parting is None and len(tokens) != len(again) else largest(logprobs, logprobs_again, parting)
        found.append(Difference(place=place, before=list(tokens), after=list(again), nats=nats))
    return found


def largest(logprobs: Sequence[float], again: Sequence[float], parting: int | None) -> float:
    """The largest difference of two lists of log-probs up to and at `parting`, or of all."""
    compared = list(zip(logprobs, again, strict=False))[: None if parting is None else parting + 1]
    return max((abs(a - b) for a, b in compared), default=0.0)
