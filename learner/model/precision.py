"""The parts of a policy that are computed in float32 while the rest may be bfloat16: the routers' logits and the vocabulary's."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from configs.keys import LearnerConfig
from learner.experts.routers import attach, logits_of


def apply_precision(policy: Any, learner: LearnerConfig) -> None:
    """Give a policy its routers and its head as [learner] wants them.

    To be called when DeepSpeed has taken the policy over, for every policy whose log-probs are compared: two that differ in precision
    alone would not be equal where their weights are.
    """
    attach(policy, policy.routing, precise=learner.router_dtype == "float32")
    if learner.head_dtype == "float32":
        head = policy.language_model.get_output_embeddings()
        # The module stays and only its forward changes, so whoever gathers its weight around a call (ZeRO-3) still does;
        # an embedding that shares the weight is another module and is left as it is.
        head.forward = _precise(head)


def _precise(head: Any) -> Callable[[Tensor], Tensor]:
    return lambda hidden: logits_of(hidden, head.weight, head.bias, precise=True)
