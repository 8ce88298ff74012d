"""The metrics of each source of prompts."""

from collections.abc import Iterable, Sequence

import numpy as np

from cluster.record.metrics.finite import mean_of_finite
from rollout.types import GroupSummary


def describe_sources(names: Iterable[str], learned: Sequence[GroupSummary], rejected: Sequence[GroupSummary]) -> dict[str, float]:
    """Rewards, lengths and counts of each source's groups in a step; without a group of a source its means are NaN."""
    values: dict[str, float] = {}
    for name in sorted(names):
        groups = [summary for summary in learned if summary.source == name]
        prefix, nothing = f"source/{name}", [np.empty(0)]
        values |= {
            f"{prefix}/reward": mean_of_finite(np.concatenate([s.rewards for s in groups] or nothing)),
            f"{prefix}/correct": mean_of_finite(np.concatenate([s.correct for s in groups] or nothing)),
            f"{prefix}/length": mean_of_finite(np.concatenate([s.sampled for s in groups] or nothing)),
            f"{prefix}/truncated": mean_of_finite(np.concatenate([s.truncated for s in groups] or nothing).astype(float)),
            f"{prefix}/groups": float(len(groups)),
            f"{prefix}/share": len(groups) / len(learned),
            f"{prefix}/rejected": float(sum(summary.source == name for summary in rejected)),
            f"{prefix}/failures": float(sum(summary.unscored for summary in groups)),
        }
    return values
