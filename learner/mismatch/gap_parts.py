"""The gap between learner and engine taken apart, token by token, and told as metrics.

                                  sampling weights                    present weights
    engine e ──numerics──► a  engine's experts ──replayed_staleness──► c'  engine's experts     replayed = c' - e
                           │ routing
                           ▼
                           b  live experts ──────staleness───────────► c   live experts         total = c - e

So numerics + routing + staleness = total, and numerics + replayed_staleness = replayed, for every token and with its sign. Where the
engine tells no experts, a and c' are unknown, and numerics and routing are one: engine = b - e.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from learner.loss.surrogates import LOG_RATIO_LIMIT
from learner.process_group import largest_over_ranks, max_over_ranks, sum_over_ranks
from learner.statistics import TAIL

WITH_EXPERTS = ("numerics", "routing", "staleness", "total", "replayed_staleness", "replayed")
WITHOUT = ("engine", "staleness", "total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A batch's log-probs [B, T] under some weights, with live experts and with the engine's."""

    live: Tensor
    replayed: Tensor | None  # None where the engine tells no experts


def parts_of(engine: Tensor, sampling: Scores, present: Scores, mask: Tensor) -> dict[str, Tensor]:
    """Each part of the gap [N], float64, at the N tokens of the mask."""
    told, b, c = (values[mask].double() for values in (engine, sampling.live, present.live))
    found = {"staleness": c - b, "total": c - told}
    if sampling.replayed is None or present.replayed is None:
        return {"engine": b - told, **found}
    a, again = sampling.replayed[mask].double(), present.replayed[mask].double()
    return {"numerics": a - told, "routing": b - a, **found, "replayed_staleness": again - a, "replayed": again - told}


class GapParts:
    """The parts of one step's gap as one rank sees them; `names` are those it will be given, the same on every rank."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.device = device
        self.seen: dict[str, list[Tensor]] = {name: [torch.empty(0, dtype=torch.float64, device=device)] for name in names}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Add a batch's tokens."""
        for name, values in parts.items():
            self.seen[name].append(values)

    def describe(self) -> dict[str, float]:
        """Of every part the mean absolute value, KL (k3), 99.9th percentile and maximum over all ranks' tokens. A collective."""
        values = {name: torch.cat(found) for name, found in self.seen.items()}
        some = next(iter(values.values()))
        sums = [torch.tensor(float(some.numel()), dtype=torch.float64, device=self.device)]
        sums += [x.abs().sum() for x in values.values()] + [_k3(x).sum() for x in values.values()]
        count, *rest = sum_over_ranks(torch.stack(sums)).tolist()
        if not count:
            return {"tokens": 0.0}
        most = max_over_ranks(torch.stack([_largest(x) for x in values.values()])).tolist()
        told = {"tokens": count}
        for place, (name, x) in enumerate(values.items()):
            told[name] = rest[place] / count
            told[f"{name}_kl"] = rest[len(values) + place] / count
            told[f"{name}_p999"] = float(largest_over_ranks(x.abs(), ceil(count * TAIL))[-1])
            told[f"{name}_max"] = most[place]
        return told


def _k3(x: Tensor) -> Tensor:
    """Of the log-ratio of what a token has over what it had: never negative; http://joschu.net/blog/kl-approx.html."""
    bounded = x.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return bounded.exp() - 1 - bounded


def _largest(x: Tensor) -> Tensor:
    return x.abs().max() if x.numel() else x.new_zeros(())
