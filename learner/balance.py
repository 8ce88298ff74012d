"""The load-balancing loss of a whole update, exact for any division into ranks and micro-batches.

    aux = mean over layers of  E · Σ_e f_e · P_e          Switch Transformer, arXiv 2101.03961, equation 4, with f over K choices a token

f_e is the share of choices that fall on expert e, P_e its mean router probability, both over the update's real tokens (`Part.real`).
Choices are always the live top K, also in a pass that replays recorded experts: the loss moves the router, which no recording follows.

f has no gradient, so the gradient at the probabilities of every token is E · f_e / N. A pass without gradient counts first, so this is
known before the first backward pass. The passes that learn add it where the router computes its probabilities. That is why checkpointed
layers, sharded weights and packed rows need no further code.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learner.batch.layout import Layout
from learner.experts.load import tally
from learner.measurement import Part
from learner.model.zero import ZeroEngine
from learner.process_group import sum_over_ranks


class Census:
    """A watcher that sums live choices and router probabilities over the passes of an update."""

    def __init__(self) -> None:
        self.real = torch.empty(0)  # bool [B, S], the real tokens of the next pass
        self.seen: dict[int, Tensor] = {}  # float64 [2, E] by layer: choices, summed probabilities
        self.top_k = 0

    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        times, self.top_k = layout.times(self.real), taken.shape[-1]
        chosen = tally(probs.topk(self.top_k, dim=-1).indices, times, probs.shape[-1])
        new = torch.stack([chosen.double(), torch.where(times[:, None] > 0, times[:, None] * probs, 0).sum(0, dtype=torch.float64)])
        self.seen[layer] = self.seen[layer] + new if layer in self.seen else new


class Balanced:
    """The loss of one update: its value, and its gradient at every token's router probabilities."""

    def __init__(self, census: Census, gain: float) -> None:
        """Sum the ranks' counts; `gain` multiplies the gradient. A collective."""
        layers = sorted(census.seen)
        chosen, probs = sum_over_ranks(torch.stack([census.seen[layer] for layer in layers])).unbind(1)
        choices = chosen.sum(1, keepdim=True)
        share, tokens = chosen / choices, choices / census.top_k
        experts = chosen.shape[1]
        self.value = (experts * share * probs / tokens).sum(1).mean()
        slopes = gain * experts / len(layers) * share / tokens
        self.slopes = dict(zip(layers, slopes, strict=True))

    def over(self, real: Tensor) -> "BalancedPass":
        """The gradient for one pass, whose real tokens `real` [B, S] marks."""
        return BalancedPass(self.slopes, real)


class BalancedPass:
    """Adds the gradient of the balancing loss in one pass."""

    def __init__(self, slopes: dict[int, Tensor], real: Tensor) -> None:
        self.slopes, self.real = slopes, real

    def __call__(self, layer: int, probs: Tensor, layout: Layout) -> Tensor:
        balanced: Tensor = _Lean.apply(probs, layout.times(self.real), self.slopes[layer])
        return balanced


class _Lean(torch.autograd.Function):
    """Identity on the probabilities; the backward pass adds a slope [E] to the gradient at every token, for each that it stands for."""

    @staticmethod
    def forward(ctx: Any, probs: Tensor, times: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(times, slope)
        return probs.view_as(probs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        times, slope = ctx.saved_tensors
        return gradients[0] + times[:, None] * slope.to(gradients[0].dtype), None, None


@torch.no_grad()
def balance(zero: ZeroEngine, parts: Sequence[Part], coefficient: float) -> Balanced:
    """Count an update's choices by running its passes once without gradient. A collective."""
    census = Census()
    for part in parts:
        census.real = part.real
        zero(part.batch, part.replay, (census,))
    assert census.seen, "Learner refuses learner.aux_loss where the model has no routers"
    # DeepSpeed averages gradients over ranks. ZeroEngine.backward undoes that for the loss, but not for this gradient.
    return Balanced(census, coefficient * zero.world)
