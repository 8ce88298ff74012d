"""Credit by turn: every turn of an episode has an advantage of its own.

    rewards of turns ──► reward-to-go of turn k ──► less the mean reward-to-go from k of the other members that reached turn k

The baseline of a turn depends on the other members alone, never on what the member itself did in this turn or later. So the expected
gradient is exactly that of the expected reward, also where members stop at different turns. A turn that no other member reached has the
baseline 0. Nothing is divided by a spread: the number of members that reach a turn depends on what they did before, so would its spread.
"""

from collections.abc import Sequence

import numpy as np

from learner.loss.advantages import Floats, differ, leave_one_out
from rollout.types import GroupSummary


def rewards_of_turns(summary: GroupSummary, rewards: Floats) -> list[Floats]:
    """The reward of every turn of each response [G] of [K]; they add up to `rewards` [G], and are NaN where that is.

    What the rewards of turns lack of it is the last turn's: correctness at the end, and penalties of the whole response.
    """
    found = []
    for member, (reward, turns) in enumerate(zip(rewards, summary.turns.tolist(), strict=True)):
        given = None if summary.turn_rewards is None else summary.turn_rewards[member]
        values = np.zeros(turns) if given is None else given.astype(np.float64)
        values[-1:] += reward - values.sum()
        found.append(values if np.isfinite(reward) else np.full(turns, np.nan))
    return found


def rewards_to_go(rewards: Sequence[Floats]) -> list[Floats]:
    """What each response earned from turn k on, turn by turn: K columns [G], NaN where a response is not compared or did not reach k."""
    remaining = [values[::-1].cumsum()[::-1] for values in rewards]
    turns = max(map(len, remaining), default=0)
    return [np.array([values[k] if k < len(values) else np.nan for values in remaining], np.float64) for k in range(turns)]


def advantages_of_turns(rewards: Sequence[Floats]) -> list[Floats]:
    """The advantage of every turn of a group's responses [G] of [K], from the rewards of their turns.

    Failed responses (NaN), a lone scored one and turns whose rewards-to-go are equal get exactly 0.
    """
    advantages = [np.zeros(len(values)) for values in rewards]
    columns = rewards_to_go(rewards)
    if not columns or np.isfinite(columns[0]).sum() <= 1:
        return advantages
    for k, column in enumerate(columns):
        there = np.isfinite(column)
        compared = leave_one_out([column], [])[0] if there.sum() > 1 else column
        for member in np.flatnonzero(there):
            advantages[member][k] = compared[member]
    return advantages


def turns_differ(rewards: Sequence[Floats]) -> bool:
    """Whether any turn that two responses reached went on better in one of them."""
    return any(differ(column[np.isfinite(column)]) for column in rewards_to_go(rewards))
