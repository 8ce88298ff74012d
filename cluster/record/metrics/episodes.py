"""The metrics of episodes: turns, tools, and the time of environments. Steps without a prompt that could have several turns have none."""

from collections.abc import Sequence

import numpy as np

from rollout.types import GroupSummary


def with_episodes(summaries: Sequence[GroupSummary]) -> list[GroupSummary]:
    """The groups whose prompts could have several turns, whether the model used them or not."""
    return [summary for summary in summaries if summary.talks or (summary.turns > 1).any()]


def describe_episodes(summaries: Sequence[GroupSummary], max_turns: int) -> dict[str, float]:
    """Means over the episodes of a step's groups; `tokens/environment` is the sum of what was appended to them."""
    groups = with_episodes(summaries)
    if not groups:
        return {}

    def mean(name: str) -> float:
        return float(np.concatenate([getattr(summary, name) for summary in groups]).mean())

    turns = np.concatenate([summary.turns for summary in groups])
    truncated = np.concatenate([summary.truncated for summary in groups])
    return {
        "turns/mean": float(turns.mean()),
        "turns/max": float(turns.max()),
        "turns/exhausted": float((truncated & (turns >= max_turns)).mean()),
        "tokens/environment": float(sum((summary.lengths - summary.sampled).sum() for summary in groups)),
        "tool/calls": mean("tool_calls"),
        "tool/errors": mean("tool_errors"),
        "tool/cut": mean("cut_replies"),
        "seconds/environment": mean("environment_s"),
    }


def describe_turns(summaries: Sequence[GroupSummary], prefix: str) -> dict[str, float]:
    """What an evaluation says of its episodes: turns and tool calls of one."""
    groups = with_episodes(summaries)
    if not groups:
        return {}
    turns, calls = (np.concatenate([getattr(summary, name) for summary in groups]) for name in ("turns", "tool_calls"))
    return {f"{prefix}turns": float(turns.mean()), f"{prefix}tool_calls": float(calls.mean())}
