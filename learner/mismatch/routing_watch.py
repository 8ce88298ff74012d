"""How often tokens take other experts in the learner than in the engine, layer by layer.

It compares sets, because the order in which a router lists its experts does not matter. It counts the positions that predict a learned
token, so only the last one of the prompt.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from learner.batch.layout import Layout
from learner.batch.recorded import Recording
from learner.batch.tensors import Batch
from learner.experts.routing import Watcher
from learner.process_group import sum_over_ranks


class RoutingWatch:
    """Compares the passes of one rank since the last `describe`. `layers` are the decoder layers with experts, the same on every rank."""

    def __init__(self, layers: Sequence[int], device: torch.device) -> None:
        self.layers, self.device = sorted(layers), device
        self.passes: list[PassWatch] = []

    def watchers(self, batch: Batch) -> tuple[Watcher, ...]:
        """The watchers for a pass of this batch: none if the engine recorded no experts."""
        if batch.experts is None or not self.layers:
            return ()
        self.passes.append(PassWatch(batch, batch.experts))
        return (self.passes[-1],)

    def describe(self) -> dict[str, float]:
        """The shares that differ, equal on every rank, empty if nothing was compared; starts again from zero. A collective."""
        if not self.layers:
            return {}
        counts = torch.zeros(2 + len(self.layers), dtype=torch.float64, device=self.device)
        for seen in self.passes:
            counts += torch.stack([seen.tokens, seen.touched, *(seen.layers[layer] for layer in self.layers)])
        self.passes = []
        tokens, touched, *layers = sum_over_ranks(counts).tolist()
        if not tokens:
            return {}
        shares = {layer: differing / tokens for layer, differing in zip(self.layers, layers, strict=True)}
        return {
            "differ": sum(shares.values()) / len(shares),
            "differ_max": max(shares.values()),
            "tokens_differ": touched / tokens,
            **{f"differ/layer_{layer:02d}": share for layer, share in shares.items()},
        }


class PassWatch:
    """A watcher that compares one pass with the engine's experts; counts are float64 scalars on the batch's device."""

    def __init__(self, batch: Batch, engine: Recording) -> None:
        known = engine.known.to(batch.mask.device)
        predicting = torch.zeros_like(known)
        # Position p predicts token p + 1.
        predicting[:, batch.prompt_width - 1 : -1] = batch.mask
        self.engine, self.counted = engine.experts, predicting & known
        self.tokens = self.counted.sum().double()
        self.layers: dict[int, Tensor] = {}
        self.differs: Tensor | None = None  # bool [M], in any layer so far

    @torch.no_grad()
    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        engine = layout.every(self.engine[:, :, layer].to(probs.device)).long()
        differs = (layout.each(taken).sort(-1).values != engine.sort(-1).values).any(-1) & layout.every(self.counted)
        self.layers[layer] = differs.sum().double()
        self.differs = differs if self.differs is None else self.differs | differs

    @property
    def touched(self) -> Tensor:
        """The number of tokens that differ in at least one layer."""
        assert self.differs is not None, "the pass has not run"
        return self.differs.sum().double()
