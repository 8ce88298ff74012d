"""Expert load: how many tokens each expert of each layer took in a step."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.batch.layout import Layout
from learner.process_group import sum_over_ranks

Table = NDArray[np.int64]  # [L, E], tokens of each expert; L counts the layers that have experts, in order


def tally(experts: Tensor, times: Tensor, number: int) -> Tensor:
    """How often each of `number` experts was taken, from the choices of tokens [N, K] that count `times` [N] each: int64 [E]."""
    counts = torch.zeros(number, dtype=torch.int64, device=experts.device)
    return counts.scatter_add_(0, experts.flatten().long(), times[:, None].expand_as(experts).flatten())


class ExpertLoad:
    """Counts of one rank in a step: the experts that tokens take, chosen or replayed. A dense model costs nothing."""

    def __init__(self) -> None:
        self.counts: dict[int, Tensor] = {}

    def over(self, real: Tensor) -> "Counter":
        """A watcher of one pass, in which `real` [B, S] marks the tokens that count."""
        return Counter(self.counts, real)

    def table(self) -> Table | None:
        """The counts of all ranks, None where there are no experts. A collective: every rank has passed through the same layers."""
        if not self.counts:
            return None
        whole: Table = sum_over_ranks(torch.stack([self.counts[layer] for layer in sorted(self.counts)])).cpu().numpy()
        return whole


class Counter:
    """The watcher of one pass."""

    def __init__(self, counts: dict[int, Tensor], real: Tensor) -> None:
        self.counts, self.real = counts, real

    @torch.no_grad()
    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        seen = tally(taken, layout.times(self.real), probs.shape[-1])
        self.counts[layer] = self.counts[layer] + seen if layer in self.counts else seen


def describe_load(table: Table | None) -> dict[str, float]:
    """The metrics of a step's load: nothing for a dense model."""
    if table is None:
        return {}
    share = table / table.sum(1, keepdims=True)
    uneven = share.max(1) * table.shape[1]
    entropy = -np.where(table > 0, share * np.log(np.where(table > 0, share, 1)), 0).sum(1) / np.log(table.shape[1])
    return {
        "load/max_over_mean": float(uneven.mean()),
        "load/max_over_mean_worst": float(uneven.max()),
        "load/entropy": float(entropy.mean()),
        "load/entropy_worst": float(entropy.min()),
        "load/dead": float((table == 0).sum()),
    }
