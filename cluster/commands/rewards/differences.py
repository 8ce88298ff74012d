"""What scoring again has shown: the rewards of a run against those of now."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.commands.rewards.kept import Kept
from configs.arithmetic import counted
from rollout.types import Outcome, Verdict

DIVERGED = "the environment is not deterministic"  # begins what a re-run says of other words
CLOSE = 1e-9  # JSON loses no digits, but checkers may sum in another order


@dataclass(slots=True, kw_only=True)
class Report:
    """The result; each list holds one line a response."""

    kept: int
    made: int  # responses that the run learned from
    unreadable: int
    alone: int = 0  # not scored: a function asks for the whole group, and other responses of it were not kept
    held: int = 0  # not scored: their environments are held, so they are no function of the transcript
    tool_answers: int = 0  # taken from the transcripts
    episodes: int = 0  # of several turns, among those that were scored
    same: int = 0
    failed_again: int = 0
    diverged: list[str] = field(default_factory=list)  # the environment says other words now
    different: list[str] = field(default_factory=list)  # scored then and now, with different rewards
    now_scored: list[str] = field(default_factory=list)
    now_failed: list[str] = field(default_factory=list)

    @property
    def summary(self) -> list[str]:
        """What was scored again and what was not, a line each."""
        lines = [
            f"{self.kept} of {counted(self.made, 'response')} scored again: {counted(self.same, 'reward')} the same, {len(self.different)} "
            f"different, {counted(len(self.now_scored), 'failure')} scored now, {counted(len(self.now_failed), 'scored response')} failing "
            f"now, {self.failed_again} failed both times"
        ]
        if self.episodes:
            line = f"{counted(self.episodes, 'episode')} run again from what was said, {len(self.diverged)} went another way"
            asked = f"; {counted(self.tool_answers, 'answer')} of tools taken as recorded, not asked again" if self.tool_answers else ""
            lines.append(line + asked)
        if self.held:
            lines.append(
                f"{counted(self.held, 'response')} not scored: a held environment is not run again, as its words need not be the same"
            )
        if self.unreadable:
            lines.append(f"{counted(self.unreadable, 'line')} skipped: half-written, or no response")
        if self.alone:
            lines.append(
                f"{counted(self.alone, 'response')} not scored: a function asks for the whole group, of which the run kept a part; "
                "set run.sample_responses to groups_per_step × group_size in the next run"
            )
        return lines


def compare(report: Report, before: Kept, now: Verdict) -> None:
    """Count the response, and add a line about it if its two verdicts differ."""
    was = before.row["reward"]
    if now.failure is not None and DIVERGED in now.failure and was is not None:
        report.diverged.append(f"{before.where}: reward {was:g}; {now.failure}")
    elif was is None and now.reward is None:
        report.failed_again += 1
    elif was is None:
        report.now_scored.append(f"{before.where}: {before.row['outcome']} ({before.row.get('failure')}), now reward {now.reward:g}")
    elif now.reward is None:
        report.now_failed.append(f"{before.where}: reward {was:g}, now {Outcome(now.outcome)} ({now.failure})")
    elif not math.isclose(was, now.reward, rel_tol=CLOSE, abs_tol=CLOSE):
        report.different.append(f"{before.where}: reward {was:g}, now {now.reward:g}")
    elif by_turn := other_turns(before.row, now):
        report.different.append(f"{before.where}: {by_turn}")
    else:
        report.same += 1


def other_turns(row: dict[str, Any], now: Verdict) -> str:
    """Which rewards of turns differ though their sum does not; empty where none does."""
    was = [turn.get("reward") for turn in row.get("turns", ())]
    if None in was or not was or (len(was) == len(now.turn_rewards) and np.allclose(was, now.turn_rewards, CLOSE, CLOSE)):
        return ""
    listed = [", ".join(f"{reward:g}" for reward in rewards) or "none" for rewards in (was, now.turn_rewards)]
    return f"rewards by turn {listed[0]}, now {listed[1]}"
