"""Which experts every token takes: chosen live or replayed from a recording, and shown to watchers.

    Policy.forward ──► Routing.during(a pass) ──► decoder layers ──► each router asks Routing.take(...)

A pass fixes its replay and its watchers when it begins. Gradient checkpointing computes a layer again in the backward pass: the layer
then finds the replay of its own pass, and watchers do not see it twice.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

import torch
from torch import Tensor

from learner.batch.layout import Layout
from learner.batch.recorded import Recording


class Watcher(Protocol):
    """Observes the routers of a pass."""

    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        """A layer's router probabilities [N, E] over all experts, float32 with gradient, and the experts taken [N, K].

        `layout` has the N tokens' places in the batch.
        """


class Balance(Protocol):
    """Changes the gradient at the router probabilities of a pass."""

    def __call__(self, layer: int, probs: Tensor, layout: Layout) -> Tensor:
        """The same probabilities [N, E] of a layer, with another gradient."""


class Pass:
    """The replay, the watchers and the balance of one pass through the decoder."""

    def __init__(self, layout: Layout, replay: Recording | None, watchers: Sequence[Watcher], balance: Balance | None = None) -> None:
        self.layout, self.watchers, self.balance = layout, watchers, balance
        self.experts = None if replay is None else layout.flat(replay.experts)
        self.known = None if replay is None else layout.flat(replay.known)[:, None]

    def unwatched(self) -> "Pass":
        """The same without watchers."""
        other = Pass(self.layout, None, (), self.balance)  # part of the graph, so the recomputation has to build it too
        other.experts, other.known = self.experts, self.known
        return other


class Routing:
    """The state that all routers of one policy share."""

    def __init__(self) -> None:
        self.now: Pass | None = None

    @contextmanager
    def during(self, now: Pass | None) -> Iterator[None]:
        """Routers follow this pass within the context; without a pass they choose live."""
        before, self.now = self.now, now
        try:
            yield
        finally:
            self.now = before

    def again(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """The contexts of a checkpointed layer, first time and recomputation, as `torch.utils.checkpoint` asks for them."""
        now = self.now
        return self.during(now), self.during(None if now is None else now.unwatched())

    def balanced(self, layer: int, probs: Tensor) -> Tensor:
        """The router probabilities [N, E] of a layer with the gradient that the pass wants; the values are the same."""
        if (now := self.now) is None or now.balance is None:
            return probs
        return now.balance(layer, probs, now.layout)

    def take(self, layer: int, probs: Tensor, top_k: int) -> Tensor:
        """The experts [N, K] that tokens with these router probabilities [N, E] take in a layer."""
        taken = probs.topk(top_k, dim=-1).indices
        if (now := self.now) is None:
            return taken
        if now.experts is not None and now.known is not None:
            taken = torch.where(now.known, now.experts[:, layer].long(), taken)
        for watcher in now.watchers:
            watcher.see(layer, probs, taken, now.layout)
        return taken


class Recorder:
    """A watcher that records the experts of a pass in the type `experts`."""

    def __init__(self, experts: torch.dtype) -> None:
        self.type = experts
        self.layers: dict[int, Tensor] = {}

    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        self.layers[layer] = layout.padded(taken.to(self.type))

    def recording(self, known: Tensor) -> Recording:
        """The recorded experts of the tokens that `known` [B, S] marks; a layer without experts has a column of zeros."""
        some = next(iter(self.layers.values()))
        none = torch.zeros_like(some)
        experts = torch.stack([self.layers.get(i, none) for i in range(max(self.layers) + 1)], dim=2)
        return Recording(experts=experts, known=known).to("cpu")
