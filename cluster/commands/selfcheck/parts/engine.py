"""Engines start and generate."""

from cluster.commands.selfcheck.evidence import Evidence, needed
from cluster.commands.selfcheck.rows import Measured
from cluster.commands.train import STARTING


def judge(found: Evidence) -> Measured:
    """Every engine is up, and the first step's responses have come. The held-out prompts before them have warmed the engines up."""
    seconds = found.first.stage(STARTING)
    row = found.step(1)
    needed(row["tokens"] > 0, "the engines generated no token")
    return Measured(
        numbers={
            "engines": row["engines"],
            "start_s": seconds,
            "tokens": row["tokens"],
            "tokens_per_s": row["tokens"] / max(row["seconds/generate"], 1e-9),
        },
        seconds=seconds,
    )
