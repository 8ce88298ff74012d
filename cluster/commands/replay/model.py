"""Computes log-probs and the gradient's norm of a capsule again, from the model's weights, in float32 on the CPU.

Only the first update of a step can be computed: the later ones need the optimizer's state. Old log-probs of later updates belong to the
weights of the step's start, so they are compared too.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cluster.commands.replay.found import Check
from cluster.commands.replay.losses import loss_of
from cluster.commands.replay.tensors import LearnedBatch
from cluster.record.capsules.read import Capsule
from configs.arithmetic import counted
from configs.presets import Objective
from configs.schema import Config
from learner.loss.objective import LossInputs

# Of a token's log-prob on average over the tokens of a row, in nats, and of the gradient's norm, relative: by the type that trained.
TOLERANCES = {"float32": (1e-4, 1e-3), "bfloat16": (0.05, 0.1)}


def check_model(capsule: Capsule, config: Config, batches: Sequence[LearnedBatch], folder: Path) -> tuple[Check, Check]:
    """The log-probs of every row, and the norm of the first update's gradient."""
    of_logprobs, of_norm = Check("log-probs"), Check("gradient")
    nearness, relative = TOLERANCES[config.model.dtype]
    policy, objective = load(config, folder), config.whole_objective
    rows = 0
    for one in batches:
        first = one.update == 0
        if not first and objective.preset.old == "engine":
            continue  # its old log-probs are of the update itself
        with torch.set_grad_enabled(first):
            batch = one.batch()
            logprobs, entropy = policy(batch, one.recording(batch) if config.learner.routing != "live" else None)
            if first:
                inputs = one.inputs(objective.preset)
                if objective.preset.old != "engine" or inputs.engine_logprobs is None:
                    inputs = replace(inputs, old_logprobs=logprobs.detach())
                backward(objective, logprobs, inputs, capsule.entropy_coefficient, entropy)
        for place, row in enumerate(one.rows):
            before = row.logprobs if first else row.old_logprobs
            apart = np.abs(before - logprobs[place, : len(before)].detach().numpy())[row.mask]
            rows += 1
            if apart.size:
                compare(of_logprobs, f"{row.where}: mean difference of its log-probs", float(apart.mean()), nearness)
    of_logprobs.compared = f"those of {counted(rows, 'row')} within {nearness:g} nats,"
    check_norm(of_norm, capsule, config, policy, relative)
    return of_logprobs, of_norm


def compare(check: Check, where: str, apart: float, nearness: float) -> None:
    """Count a difference that is too large, or not a number."""
    if apart <= nearness:
        check.largest = max(check.largest, apart)
    else:
        check.different.append(f"{where} is {apart:.3g} nats, more than {nearness:g}: are these the weights before the step?")


def check_norm(check: Check, capsule: Capsule, config: Config, policy: Any, relative: float) -> None:
    """Compare the norm of the gradient that `policy` has by now with that of the first update."""
    recorded = capsule.updates[0].norm if capsule.updates and any(map(len, capsule.updates[0].losses)) else None
    reasons = {
        "the first update has no finite norm": recorded is None,
        "the first update had no gradient": recorded == 0.0,
        "learner.aux_loss adds to the gradient": bool(config.learner.aux_loss),
    }
    if left := [reason for reason, holds in reasons.items() if holds]:
        check.left_out += left
        return
    assert recorded is not None
    norm = float(torch.nn.utils.get_total_norm([p.grad for p in policy.parameters() if p.grad is not None]))
    check.compared = f"norm {norm:.6g} of the first update within {100 * relative:g} %:"
    if abs(norm - recorded) > relative * recorded:
        check.different.append(f"the norm of the first update: recorded {recorded:.9g}, computed {norm:.9g}")


def backward(objective: Objective, logprobs: Tensor, inputs: LossInputs, coefficient: float, entropy: Tensor) -> None:
    """Add the gradient of a micro-batch to the parameters'."""
    loss = loss_of(objective, logprobs, inputs, coefficient, entropy)
    if loss.requires_grad:
        loss.backward()


def load(config: Config, folder: Path) -> Any:
    """The policy in float32 on the CPU, with the attention that every model has."""
    from learner.model.policy import load_policy
    from learner.model.precision import apply_precision

    learner = config.learner.model_copy(update={"packing": False, "attention": "sdpa", "gradient_checkpointing": False})
    model = config.model.model_copy(update={"path": str(folder), "dtype": "float32"})
    policy = load_policy(config.model_copy(update={"learner": learner, "model": model}))
    apply_precision(policy, learner)
    return policy
