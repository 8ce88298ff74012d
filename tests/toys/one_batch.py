"""An update as a single batch in plain torch: what learner ranks are compared with."""

from collections.abc import Sequence

from torch import Tensor

from configs.presets import Objective
from configs.sections.objective import Credit
from learner.batch.plan import plan_step
from learner.batch.row import MicroBatch
from learner.batch.tensors import Batch
from learner.loss.objective import LossInputs, policy_loss
from rollout.types import Group, GroupSummary
from tests.toys.batches import whole_batch


def planned(summaries: Sequence[GroupSummary], objective: Objective, credit: Credit = "whole") -> MicroBatch:
    """All learned responses of a step's only update."""
    plan = plan_step(summaries, objective.preset, updates=1, ranks=1, micro_batch_tokens=10_000, response_tokens=8, credit=credit)
    return plan.updates[0].rows


def one_batch(groups: Sequence[Group], objective: Objective) -> Batch:
    """All learned responses of the groups as one batch."""
    return whole_batch(planned([GroupSummary.of(group) for group in groups], objective), groups, 0)


def batch_loss(
    objective: Objective,
    logprobs: Tensor,
    batch: Batch,
    *,
    old: Tensor | None = None,
    reference: Tensor | None = None,
    log_shift: Tensor | None = None,
) -> Tensor:
    """The policy loss of a batch; without `old` the policy has not moved."""
    inputs = LossInputs(
        old_logprobs=logprobs.detach() if old is None else old,
        engine_logprobs=batch.engine_logprobs,
        reference_logprobs=reference,
        advantages=batch.advantages,
        mask=batch.mask,
        token_weight=batch.token_weight,
        log_shift=log_shift,
    )
    return policy_loss(objective, logprobs, inputs)[0]
