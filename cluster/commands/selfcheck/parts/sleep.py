"""Engines and ranks take turns on the same GPUs."""

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured, PartSkipped

TURNS = ("seconds/sleep", "seconds/wake", "seconds/park", "seconds/unpark")  # the beginnings of a turn's metrics
SECOND = 2  # the step whose responses come from engines that have slept and woken


def judge(found: Evidence) -> Measured:
    """The engines slept while the first step was learned, woke, proved whole weights, and generated the second step."""
    if not found.config.placement.share:
        raise PartSkipped("engines and ranks have GPUs of their own (placement.share = false)")
    row = found.step(SECOND)
    needed(found.weights(SECOND), "the ledger has no fingerprint of the weights that the engines woke with")
    needed(row["tokens"] > 0, "the engines generated no token after they woke")
    seconds = {key: row[key] for key in row if key.startswith(TURNS)}
    return Measured(numbers={"turns": 2.0, **seconds}, seconds=sum(seconds.values()))
