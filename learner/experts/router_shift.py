"""How far each token's router has moved since the step began, and the factor that RSPO shrinks its ratio by: arXiv 2510.23027.

    Δ_t = mean over layers of  1/K Σ |log (p_now(e) / p_start(e))|  over the K experts e that t took then
    factor_t = max(1 / exp(Δ_t), floor)

p is the router's softmax over all experts. The position before token t predicts it, so Δ_t reads the routers of that position. Legend: B
responses, S tokens with the prompt, T response tokens, K experts a token.
"""

from math import log

import torch
from torch import Tensor

from learner.batch.layout import Layout
from learner.batch.recorded import expert_dtype


class RouterState:
    """A watcher that keeps the experts taken and their log-probs at positions that predict response tokens, in host memory."""

    def __init__(self, prompt_width: int, floor: float) -> None:
        """`floor` is the smallest factor that a later `Shift` may give."""
        self.prompt_width, self.floor = prompt_width, floor
        self.layers: dict[int, tuple[Tensor, Tensor]] = {}  # [B, T, K] each: experts in the smallest type, float32 log-probs

    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        kind = expert_dtype(probs.shape[-1])
        # Copies, else a view would keep the whole pass.
        self.layers[layer] = (
            self.speaking(taken.to(kind), layout).to("cpu", copy=True),
            self.speaking(_logs(probs, taken), layout).to("cpu", copy=True),
        )

    def speaking(self, values: Tensor, layout: Layout) -> Tensor:
        """Values in the order of the pass [N, K] at the positions that predict a response's tokens: [B, T, K]."""
        return layout.padded(values)[:, self.prompt_width - 1 : -1]

    def in_order(self, layer: int, layout: Layout, device: torch.device) -> Tensor:
        """The experts of a layer in the order of a pass [N, K], 0 at positions that were not kept."""
        kept = self.layers[layer][0].to(device)
        whole = kept.new_zeros(*layout.shape, kept.shape[-1])
        whole[:, self.prompt_width - 1 : -1] = kept
        return layout.flat(whole).long()


class Shift:
    """A watcher that measures how far a pass has moved from an earlier state."""

    def __init__(self, start: RouterState) -> None:
        self.start = start
        self.total: Tensor | None = None

    @torch.no_grad()
    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: Layout) -> None:
        now = self.start.speaking(_logs(probs, self.start.in_order(layer, layout, probs.device)), layout)
        moved = (now - self.start.layers[layer][1].to(probs.device)).abs().mean(-1)
        self.total = moved if self.total is None else self.total + moved

    def distance(self) -> Tensor:
        """Δ [B, T] in nats, once the pass is over."""
        assert self.total is not None, "the pass has not run, or the model has no routers"
        return self.total / len(self.start.layers)

    def log_factor(self) -> Tensor:
        """What is added to the log-ratio [B, T]: at most 0, at least the floor's logarithm."""
        return (-self.distance()).clamp(min=log(self.start.floor))

    def sums(self, mask: Tensor) -> dict[str, Tensor]:
        """Sums over a micro-batch's learned tokens, as `StepStatistics` takes them; `shift_factor` is of factors before the floor."""
        factor = torch.where(mask, (-self.distance()).exp(), 0)
        return {
            "shift_tokens": mask.sum(),
            "shift_factor": factor.sum(dtype=torch.float64),
            "shift_floored": (mask & (factor < self.start.floor)).sum(),
        }


def _logs(probs: Tensor, experts: Tensor) -> Tensor:
    """Log-probs of experts [N, K]; a probability that float32 holds as 0 counts as the smallest that it can hold."""
    return probs.gather(-1, experts).clamp(min=torch.finfo(probs.dtype).tiny).log()
