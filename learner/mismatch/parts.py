"""The parts of the mismatch between learner and engine, token by token, and their metrics.

                                  sampling weights                    present weights
    engine e ──numerics──► a  engine's experts ──replayed_staleness──► c'  engine's experts     replayed = c' - e
                           │ routing
                           ▼
                           b  live experts ──────staleness───────────► c   live experts         total = c - e

For every token numerics + routing + staleness = total, and numerics + replayed_staleness = replayed. If the engine records no experts,
a and c' are unknown; then numerics and routing are one part, engine = b - e.
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
WITHOUT_EXPERTS = ("engine", "staleness", "total")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """A batch's log-probs [B, T] under some weights."""

    live: Tensor  # with live experts
    replayed: Tensor | None  # with the engine's experts; None if the engine records none


def parts_of(engine: Tensor, sampling: Scores, present: Scores, mask: Tensor) -> dict[str, Tensor]:
    """Each part of the mismatch [N], float64, at the N tokens of the mask; `engine` is the engine's log-probs [B, T]."""
    e, b, c = (values[mask].double() for values in (engine, sampling.live, present.live))
    parts = {"staleness": c - b, "total": c - e}
    if sampling.replayed is None or present.replayed is None:
        return {"engine": b - e, **parts}
    a, c_replayed = sampling.replayed[mask].double(), present.replayed[mask].double()
    return {"numerics": a - e, "routing": b - a, **parts, "replayed_staleness": c_replayed - a, "replayed": c_replayed - e}


class MismatchParts:
    """The parts of one step's mismatch on one rank. `names` are those that `add` gets, the same on every rank."""

    def __init__(self, names: tuple[str, ...], device: torch.device) -> None:
        self.device = device
        self.seen: dict[str, list[Tensor]] = {name: [torch.empty(0, dtype=torch.float64, device=device)] for name in names}

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Add a batch's tokens."""
        for name, values in parts.items():
            self.seen[name].append(values)

    def describe(self) -> dict[str, float]:
        """Each part's mean absolute value, KL (k3), 99.9th percentile and maximum over all ranks' tokens. A collective."""
        values = {name: torch.cat(found) for name, found in self.seen.items()}
        some = next(iter(values.values()))
        sums = [torch.tensor(float(some.numel()), dtype=torch.float64, device=self.device)]
        sums += [x.abs().sum() for x in values.values()] + [_k3(x).sum() for x in values.values()]
        count, *rest = sum_over_ranks(torch.stack(sums)).tolist()
        if not count:
            return {"tokens": 0.0}
        most = max_over_ranks(torch.stack([_largest(x) for x in values.values()])).tolist()
        metrics = {"tokens": count}
        for place, (name, x) in enumerate(values.items()):
            metrics[name] = rest[place] / count
            metrics[f"{name}_kl"] = rest[len(values) + place] / count
            metrics[f"{name}_p999"] = float(largest_over_ranks(x.abs(), ceil(count * TAIL))[-1])
            metrics[f"{name}_max"] = most[place]
        return metrics


def _k3(x: Tensor) -> Tensor:
    """exp(x) - 1 - x of the log-ratio x of later to earlier log-probs: never negative; http://joschu.net/blog/kl-approx.html."""
    bounded = x.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return bounded.exp() - 1 - bounded


def _largest(x: Tensor) -> Tensor:
    return x.abs().max() if x.numel() else x.new_zeros(())
