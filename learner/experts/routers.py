"""The routers of a policy, made to ask `Routing` which experts to take.

Only the choice of experts is replaced. Weights are gathered from the live router probabilities, so the router also learns under replay.
The learner can follow routers that take the largest of a softmax: those of the families in `configs/families.py`, and DeepSpeed AutoEP's.
"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from configs.families import ROWS
from learner.batch.recorded import ExpertShape
from learner.experts.routing import Routing

# One forward pass serves them all. Where a router has no `norm_topk_prob`, a token's weights always sum to 1.
STOCK = {row.router: row for row in ROWS if row.followed}
AUTOEP = "TokenChoiceTopKRouter"


def routers_of(model: nn.Module) -> dict[int, nn.Module]:
    """The routers that the learner can follow, by decoder layer."""
    found = {}
    for name, module in model.named_modules():
        if type(module).__name__ in {*STOCK, AUTOEP} and (layer := re.search(r"\.layers\.(\d+)\.", f".{name}.")):
            found[int(layer.group(1))] = module
    return found


def freeze_routers(model: nn.Module) -> None:
    """Exclude the routers from training. Call it before the optimizer is made; AutoEP's routers inherit it."""
    for router in routers_of(model).values():
        router.requires_grad_(False)


def expert_shape(model: Any) -> ExpertShape | None:
    """What recordings of a Hugging Face model's experts look like; None for a model without a router to follow."""
    found: dict[int, Any] = routers_of(model)
    if not found:
        return None
    one = next(iter(found.values()))
    layers = model.config.get_text_config().num_hidden_layers
    return ExpertShape(layers=layers, sparse=tuple(sorted(found)), experts=one.num_experts, top_k=one.top_k)


def attach(model: nn.Module, routing: Routing, *, precise: bool) -> None:
    """Make the model's routers follow `routing`, with logits in float32 where `precise`.

    Call it after DeepSpeed has taken the model over, because DeepSpeed replaces blocks.
    """
    for layer, router in routers_of(model).items():
        if type(router).__name__ == AUTOEP:
            _set_forward(router.gate, _linear(router.gate, precise=precise))
            _set_forward(router, _autoep(router, layer, routing))
        else:
            _set_forward(router, _stock(router, layer, routing, precise=precise))


def _set_forward(module: Any, forward: Callable[..., Any]) -> None:
    module.forward = forward


def logits_of(hidden: Tensor, weight: Tensor, bias: Tensor | None, *, precise: bool) -> Tensor:
    """Router logits [N, E] of hidden states [N, H]."""
    if precise:
        hidden, weight = hidden.float(), weight.float()
        bias = None if bias is None else bias.float()
    return functional.linear(hidden, weight, bias)


def _linear(gate: Any, *, precise: bool) -> Callable[[Tensor], Tensor]:
    return lambda hidden: logits_of(hidden, gate.weight, gate.bias, precise=precise)


def _stock(router: Any, layer: int, routing: Routing, *, precise: bool) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """The forward of transformers' routers: logits [N, E], weights [N, K], experts [N, K]."""

    normed = getattr(router, "norm_topk_prob", True)
    float32_gates = STOCK[type(router).__name__].float32_gates

    def forward(hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden = hidden.reshape(-1, router.hidden_dim)
        logits = logits_of(hidden, router.weight, None, precise=precise)
        probs = routing.balanced(layer, functional.softmax(logits, dtype=torch.float32, dim=-1))
        taken = routing.take(layer, probs, router.top_k)
        weights = probs.gather(-1, taken)
        if normed:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return logits, weights if float32_gates else weights.to(hidden.dtype), taken

    return forward


def _autoep(router: Any, layer: int, routing: Routing) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """The forward of AutoEP's router: weights [N, K], experts [N, K], tokens an expert [E]."""
    if router.score_func != "softmax" or router.num_expert_groups is not None or router.e_score_correction_bias is not None:
        raise ValueError("AutoEP's router scores by sigmoid, groups or a bias here; routing can be followed only with a plain softmax")

    def forward(hidden: Tensor, expert_bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        probs = routing.balanced(layer, functional.softmax(router.gate(hidden), dtype=torch.float32, dim=-1))
        taken = routing.take(layer, probs, router.top_k)
        weights = probs.gather(-1, taken)
        if router.route_norm:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        # Not bincount, which stops the device to learn its own size.
        counts = torch.zeros(router.num_experts, dtype=torch.int32, device=taken.device)
        counts.scatter_add_(0, taken.flatten(), torch.ones_like(taken, dtype=torch.int32).flatten())
        return weights * router.route_scale, taken, counts

    return forward
