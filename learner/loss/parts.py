"""The parts of the reward that an objective compares one by one, as GDPO does, arXiv 2601.05242."""

from collections.abc import Sequence

import numpy as np

from configs.presets import PRESETS
from configs.schema import Config
from configs.sections.reward import RewardConfig
from learner.loss.advantages import Floats, Groups, decouple, has_signal
from learner.loss.turns import rewards_of_turns, turns_differ
from rollout.types import OVERLONG, GroupSummary

DECOUPLED = "decoupled"  # the advantage that compares parts


def weighed_parts(config: RewardConfig, summary: GroupSummary) -> list[tuple[float, Floats]]:
    """The parts that add up to a group's rewards, but for a constant: the weight of each and its number for every response [G].

    Correctness comes first, times every part that multiplies, with the width of config.range as its weight. NaN stands where a response has
    no reward.
    """
    scored = np.isfinite(summary.rewards)
    numbers = {name: np.where(scored, values, np.nan) for name, values in summary.parts.items()}
    correct = np.where(scored, summary.correct, np.nan)
    nothing = np.full(len(scored), np.nan)
    parts = []
    for name, part in config.parts.items():
        if part.how == "multiply":
            correct = correct * numbers.get(name, nothing)
        else:
            parts.append((float(part.weight), numbers.get(name, nothing)))
    low, high = config.range
    return [(high - low, correct), *parts, *([(1.0, numbers.get(OVERLONG, nothing))] if config.overlong_cache else [])]


def decoupled_advantages(reward: RewardConfig, summaries: Sequence[GroupSummary], rewards: Groups) -> list[Floats]:
    """The advantages of a step's groups from the parts of their rewards; `rewards` are NaN where a response is not compared."""
    of_groups = [weighed_parts(reward, summary) for summary in summaries]
    return decouple(
        [
            (named[0][0], [np.where(np.isfinite(whole), values, np.nan) for (_, values), whole in zip(named, rewards, strict=True)])
            for named in zip(*of_groups, strict=True)
        ]
    )


def worth_learning(config: Config, summary: GroupSummary) -> bool:
    """Whether dynamic sampling accepts a group: its raw correctness varies, with decoupled parts any weighted part, or with credit by turn
    what remained to be earned in a turn that several reached.

    The over-long penalty never counts: it makes a group of wrong answers vary without teaching anything.
    """
    if config.objective.credit == "turn":
        # Without penalties and parts, so that what remains in the first turn is the raw correctness.
        low, high = config.reward.range
        return turns_differ(rewards_of_turns(summary, np.where(summary.aborted, np.nan, low + (high - low) * summary.correct)))
    if (config.objective.advantage or PRESETS[config.objective.preset].advantage) != DECOUPLED:
        return has_signal(summary)
    named = weighed_parts(config.reward, summary)[: 1 + sum(part.how == "add" for part in config.reward.parts.values())]
    return has_signal(summary, [values for weight, values in named if weight])
