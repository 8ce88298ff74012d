"""Computes ratios and losses of a capsule again, from its recorded log-probs, advantages and token weights."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor

from cluster.commands.replay.found import ROUNDING, Check
from cluster.commands.replay.tensors import LearnedBatch
from cluster.record.capsules.read import Capsule, CapsuleRow
from configs.arithmetic import counted
from configs.presets import Objective
from configs.schema import Config
from learner.batch.trace import ratios
from learner.loss.objective import LossInputs, masked, policy_loss


def check_losses(capsule: Capsule, config: Config, batches: Sequence[LearnedBatch]) -> tuple[Check, Check]:
    """The ratio of every token, and the loss of every micro-batch and of the step."""
    of_ratios, of_losses = Check("ratios"), Check("loss")
    objective = config.whole_objective
    for one in batches:
        inputs, logprobs = one.inputs(objective.preset), one.padded("logprobs")
        assert logprobs is not None
        now = ratios(objective.preset, logprobs, inputs)
        for place, row in enumerate(one.rows):
            values = now[place, : len(row.ratios)].numpy()
            of_ratios.compare(partial(ratio_in, row), row.ratios, values, tolerance=10 * ROUNDING)
        recorded = capsule.updates[one.update].losses[one.rank]
        before = recorded[one.number] if one.number < len(recorded) else float("nan")
        loss = loss_of(objective, logprobs, inputs, capsule.entropy_coefficient, one.padded("entropy"))
        of_losses.compare(f"{one.where}: loss", before, float(loss), tolerance=ROUNDING * size_of(inputs))
    metrics = {
        "loss": capsule.loss,
        "learned_tokens": float(sum(int(row.mask.sum()) for row in capsule.rows)),
        "grad_norm": mean_norm(capsule),
    }
    for name, value in metrics.items():
        known = capsule.metrics.get(name)
        of_losses.compare(f"the step's {name}", float("nan") if known is None else known, value)
    of_ratios.compared = f"those of {counted(sum(len(row.token_ids) for row in capsule.rows), 'token')}"
    of_losses.compared = f"{len(batches)} {'micro-batch' if len(batches) == 1 else 'micro-batches'}"
    return of_ratios, of_losses


def ratio_in(row: CapsuleRow, token: tuple[int, ...]) -> str:
    return f"{row.where}: ratio of token {token[0]}"


def loss_of(objective: Objective, logprobs: Tensor, inputs: LossInputs, coefficient: float, entropy: Tensor | None) -> Tensor:
    """The loss of a micro-batch as the learner computes it."""
    loss, _ = policy_loss(objective, logprobs, inputs)
    if coefficient and entropy is not None:
        loss = loss - coefficient * (masked(inputs.mask, entropy) * inputs.token_weight).sum()
    return loss


def size_of(inputs: LossInputs) -> float:
    """The size of what a loss sums up, to which the rounding of float32 is relative; at least 1."""
    sizes = inputs.token_weight.double() * inputs.advantages.abs().clamp(min=1.0)
    return max(1.0, float(torch.nan_to_num(sizes).sum()))


def mean_norm(capsule: Capsule) -> float:
    """The gradient's norm as `metrics.jsonl` has it: NaN where an update was dropped for it, or there was none."""
    norms = [float("nan") if one.norm is None else one.norm for one in capsule.updates if any(map(len, one.losses))]
    return float(np.mean(norms)) if norms else float("nan")
