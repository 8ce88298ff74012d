"""Router logits and vocabulary logits in float32 while the rest of a policy may compute in bfloat16."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from configs.sections.learner import LearnerConfig
from learner.experts.routers import attach, logits_of


def apply_precision(policy: Any, learner: LearnerConfig) -> None:
    """Set the precision of a policy's routers and head as [learner] says.

    Call it after DeepSpeed has wrapped the policy, for every policy whose log-probs are compared. Otherwise two policies with equal weights
    give different log-probs.
    """
    attach(policy, policy.routing, precise=learner.router_dtype == "float32")
    if learner.head_dtype == "float32":
        head = policy.language_model.get_output_embeddings()
        # Only the module's forward is replaced, so ZeRO-3 still gathers its weight around a call. An embedding that shares the weight is
        # another module and does not change.
        head.forward = _precise(head)


def _precise(head: Any) -> Callable[[Tensor], Tensor]:
    return lambda hidden: logits_of(hidden, head.weight, head.bias, precise=True)
