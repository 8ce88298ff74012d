"""How often the learner's tokens take other experts than they took in the engine, layer by layer.

Compared are sets: routers list their experts in the order of their weights, which is of no matter to what they compute. Counted are the
positions that speak of a learned token, so of the prompt only its last one.
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
    """What one rank saw of its passes since it last told. `layers` are the decoder layers with experts, the same on every rank."""

    def __init__(self, layers: Sequence[int], device: torch.device) -> None:
        self.layers, self.device = sorted(layers), device
        self.passes: list[PassWatch] = []

    def watchers(self, batch: Batch) -> tuple[Watcher, ...]:
        """Whoever has to watch a pass of this batch: nobody where the engine told no experts."""
        if batch.experts is None or not self.layers:
            return ()
        self.passes.append(PassWatch(batch, batch.experts))
        return (self.passes[-1],)

    def describe(self) -> dict[str, float]:
        """The shares that differ, equal on every rank and empty where nothing was compared; then it begins anew. A collective."""
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
        speaking = torch.zeros_like(known)
        # What stands at position p speaks of token p + 1.
        speaking[:, batch.prompt_width - 1 : -1] = batch.mask
        self.engine, self.counted = engine.experts, speaking & known
        self.tokens = self.counted.sum().double()
        self.layers: dict[int, Tensor] = {}
        self.differs: Tensor | None = None  # bool [N], in some layer so far

    @torch.no_grad()
    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        engine = layout.flat(self.engine[:, :, layer].to(probs.device)).long()
        differs = (taken.sort(-1).values != engine.sort(-1).values).any(-1) & layout.flat(self.counted)
        self.layers[layer] = differs.sum().double()
        self.differs = differs if self.differs is None else self.differs | differs

    @property
    def touched(self) -> Tensor:
        """Tokens of which at least one layer differs."""
        assert self.differs is not None, "the pass has not run"
        return self.differs.sum().double()
