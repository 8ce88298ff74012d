"""Engine and learner give the same tokens the same log-probs: with experts chosen anew, and with the engine's experts replayed."""

import math

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured, PartSkipped
from configs.families import number_of_experts

# KL (k3) in nats a token that precision explains. In bfloat16 a mixture of real size makes about 0.0015 (arXiv 2510.11370).
LIMIT = {"float32": 1e-6, "bfloat16": 0.02}


def judge_live(found: Evidence) -> Measured:
    """The mismatch with live experts; for a dense model simply the mismatch."""
    recorded = found.config.rollout.capture_routing
    measured = judged(found, "total" if recorded else "engine")
    if recorded:
        measured.numbers["tokens_with_other_experts"] = found.step(1)["split/tokens_differ"]
    return measured


def judge_replayed(found: Evidence) -> Measured:
    """The mismatch with the engine's experts replayed (R3)."""
    if not found.config.rollout.capture_routing:
        kind = str(found.model.get("model_type"))
        mixture = number_of_experts(found.model)
        raise PartSkipped(f"the learner cannot replay the router of {kind}" if mixture else f"{kind} is no mixture of experts")
    row = found.step(1)
    needed(row["routing/missing"] == 0, f"{row['routing/missing']:.0%} of the responses came without the experts that they took")
    return judged(found, "replayed")


def judged(found: Evidence, part: str) -> Measured:
    """A part of the mismatch in the first step, whose responses no publish cut."""
    row, dtype = found.step(1), found.config.model.dtype
    needed(row.get("split/tokens"), "no response could be scored again")
    kl, largest = float(row[f"split/{part}_kl"]), float(row[f"split/{part}_max"])
    limit = LIMIT[found.config.engine_dtype if dtype == "float32" else dtype]
    needed(math.isfinite(kl), "a log-prob of the engine or the learner is not finite")
    needed(kl <= limit, f"KL {kl:.2e} nats a token, at most {limit:g} in {dtype}: engine and learner compute different functions")
    return Measured(
        numbers={"dtype": dtype, "kl": kl, "max": largest, "tokens": row["split/tokens"]}, seconds=row.get("seconds/learn_split", 0.0)
    )
