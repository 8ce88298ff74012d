"""What a step says about responses without a reward."""

from collections.abc import Sequence

import numpy as np

from cluster.health.rule import Finding
from configs.arithmetic import counted
from rollout.types import GroupSummary

ADVICE = "mend the function that reward.checker names, or raise reward.timeout_s or reward.memory_mb; quarantine/ has what killed workers"


def refuse_unscored(step: int, summaries: Sequence[GroupSummary]) -> None:
    """Raise RuntimeError if no response of a step could be scored: there is nothing to learn, and a checker is broken."""
    if not any(np.isfinite(summary.rewards).any() for summary in summaries):
        raise RuntimeError(f"step {step}: none of the responses could be scored; the first failure: {first_failure(summaries)}")


def many_failures(summaries: Sequence[GroupSummary], limit: float) -> Finding | None:
    """A finding if more than the share `limit` of the responses has no reward."""
    failed, count = sum(s.unscored for s in summaries), sum(len(s.rewards) for s in summaries)
    if failed <= limit * count:
        return None
    first = first_failure(summaries)
    what = f"{failed} of {counted(count, 'response')} {'has' if failed == 1 else 'have'} no reward"
    return Finding(f"{what} (reward.warn_failures = {limit:g}); the first failure is {first}", ADVICE)


def describe_rejected(rejected: Sequence[GroupSummary]) -> dict[str, float]:
    """The metrics of the groups without signal that a step did not learn."""
    return {"groups/rejected": float(len(rejected)), "reward/failures_rejected": float(sum(summary.unscored for summary in rejected))}


def first_failure(summaries: Sequence[GroupSummary]) -> str:
    return next((text for summary in summaries for text in summary.failures), "none was named")
