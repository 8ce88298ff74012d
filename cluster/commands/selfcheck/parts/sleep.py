"""Engines and ranks take turns on the same GPUs."""

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured, Numbers, PartSkipped
from cluster.publish.turns import ARROWS

SECOND = 2  # the step whose responses come from engines that have slept and woken


def judge(found: Evidence) -> Measured:
    """The engines slept while the first step was learned, woke, proved whole weights, and generated the second step."""
    if not found.config.placement.share:
        raise PartSkipped("engines and ranks have GPUs of their own (placement.share = false)")
    row = found.step(SECOND)
    needed(found.weights(SECOND), "the ledger has no fingerprint of the weights that the engines woke with")
    needed(row["tokens"] > 0, "the engines generated no token after they woke")
    missing = [arrow for arrow in ARROWS if f"turns/{arrow}" not in row]
    needed(not missing, f"step {SECOND} was learned without {', '.join(missing)}: the GPUs did not change hands")
    numbers: Numbers = {f"{arrow}_s": row[f"turns/{arrow}"] for arrow in ARROWS}
    return Measured(numbers=numbers, seconds=sum(row[f"turns/{arrow}"] for arrow in ARROWS))
