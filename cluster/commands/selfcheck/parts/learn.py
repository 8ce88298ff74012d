"""Two steps of training change the weights, and the engines prove to have the new ones."""

import math

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.flops import training_flops
from cluster.commands.selfcheck.rows import Measured, Numbers
from cluster.commands.selfcheck.yardstick import TERA

STEPS = (1, 2)


def judge(found: Evidence) -> Measured:
    """Gradients are finite and not zero, every step's weights differ, and each was published with proof."""
    rows = [found.step(number) for number in STEPS]
    for row in rows:
        norm, loss = row["grad_norm"], row["loss"]
        needed(
            norm is not None and loss is not None and math.isfinite(norm) and math.isfinite(loss),
            f"step {row['step']}: loss {loss}, gradient norm {norm}",
        )
        needed(norm > 0, f"step {row['step']}: the gradient is zero, so nothing is learned")
    weights = [found.weights(number) for number in STEPS]
    needed(all(weights), f"the ledger has no fingerprint of the weights after step {STEPS[weights.index('')] if '' in weights else ''}")
    needed(len(set(weights)) == len(weights), "step 2 left the published weights as step 1 made them")
    numbers: Numbers = {
        "ranks": found.config.learner.ranks,
        "zero_stage": found.config.learner.zero_stage,
        "grad_norm": rows[-1]["grad_norm"],
        "tokens_per_s": max(row["tokens"] / row["seconds/learn_update"] for row in rows),
    }
    flops = [
        training_flops(found.model, responses_of(found), row["length/mean"] + found.prompt_tokens) / row["seconds/learn_update"]
        for row in rows
    ]
    numbers["tflops"] = max(flops) / found.config.learner.ranks / TERA
    if found.yardstick is not None:
        numbers["of_matmul"] = float(numbers["tflops"]) / found.yardstick.matmul_tflops
    return Measured(numbers=numbers, seconds=sum(row["seconds/step"] for row in rows))


def responses_of(found: Evidence) -> int:
    """Responses of a step."""
    return found.config.rollout.groups_per_step * found.config.rollout.group_size
