"""Scores the recorded responses of a finished run again, and reports where rewards differ now.

An episode is run again from its transcript. What tools had answered is taken from there; what a held environment said is not asked again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.commands.rewards.differences import Report, compare
from cluster.commands.rewards.kept import Kept, asked_again, config_of_run, read_kept, refuse_other_code, whole_groups
from cluster.record.metrics.lines import read_lines
from configs.schema import Config
from rollout.types import Verdict

AT_ONCE = 512


def audit(folder: Path, progress: Callable[[int, int], None]) -> Report:
    """Score the recorded responses of the run in that folder, with its own config; ValueError where there are none.

    Checkers that are services are asked again, within the budgets of the config.
    """
    config = config_of_run(folder)
    kept, unreadable = read_kept(folder)
    refuse_other_code(config, kept)
    if not kept:
        raise ValueError(f"{folder} kept no responses, so nothing can be scored again: set run.sample_responses above 0 in the next run")
    kept_in_all = len(kept)
    again = asyncio.run(score_again(config, kept, progress))
    metrics = folder / "metrics.jsonl"
    steps = sum(line["step"] > 0 for line in read_lines(metrics)) if metrics.exists() else 0
    made = steps * config.rollout.groups_per_step * config.rollout.group_size
    return again.report(made=max(made, kept_in_all), unreadable=unreadable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """What was scored again, with the new verdicts, and how many responses could not be."""

    kept: Sequence[Kept]
    verdicts: Sequence[Verdict]
    alone: int
    held: int

    def report(self, made: int, unreadable: int = 0) -> Report:
        """Old and new verdicts compared."""
        several = [turns for one in self.kept if (turns := one.turns)]
        report = Report(
            kept=len(self.kept),
            made=made,
            unreadable=unreadable,
            alone=self.alone,
            held=self.held,
            episodes=len(several),
            tool_answers=sum(turn.answer.tool_calls > 0 for turns in several for turn in turns),
        )
        for before, now in zip(self.kept, self.verdicts, strict=True):
            compare(report, before, now)
        return report


async def score_again(config: Config, kept: Sequence[Kept], progress: Callable[[int, int], None]) -> Again:
    """The responses that can be scored, and their new verdicts, made as a run makes them, with parts, weights and shaping."""
    from reward.scorer import Scorer

    verdicts: list[Verdict] = []
    named = sorted({one.row["checker"] for one in kept})
    async with Scorer(config, named_by_rows=named) as scorer:
        groups, wants = whole_groups(kept, config.rollout.group_size), scorer.wants
        free = [one for one in kept if not scorer.episodes.is_held(one.row["checker"])]
        able = [one for one in free if one.key in groups or "group" not in wants.of(one.row["checker"])]
        for start in range(0, len(able), AT_ONCE):
            asked = [asked_again(config, one, groups.get(one.key, ())) for one in able[start : start + AT_ONCE]]
            verdicts += await scorer.score(asked)
            progress(len(verdicts), len(able))
    return Again(kept=able, verdicts=verdicts, alone=len(free) - len(able), held=len(kept) - len(free))
