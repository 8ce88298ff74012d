"""Scores the recorded responses of a finished run again, and reports where rewards differ now."""

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.record.metrics.lines import read_lines
from configs.arithmetic import counted
from configs.digits import read_long_json
from configs.loader import load
from configs.schema import Config
from reward.asked import Asked
from reward.checkers import checkers_for_data
from rollout.seeds import seed_of_response
from rollout.types import Finish, Outcome, Verdict

AT_ONCE = 512
CLOSE = 1e-9  # JSON loses no digits, but checkers may sum in another order
NEEDED = ("checker", "reference", "outcome", "reward", "response", "tokens")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One response as a line of `responses/`."""

    step: int
    row: dict[str, Any]

    @property
    def key(self) -> tuple[int, Any]:
        """The group that it belongs to."""
        return self.step, self.row.get("group")

    @property
    def where(self) -> str:
        row = self.row
        return f"step {self.step}, group {row.get('group')}, member {row.get('member')}, checker {row['checker']}"


@dataclass(slots=True, kw_only=True)
class Report:
    """The result; each list holds one line a response."""

    kept: int
    made: int  # responses that the run learned from
    unreadable: int
    alone: int = 0  # not scored: a function asks for the whole group, and other responses of it were not kept
    same: int = 0
    failed_again: int = 0
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
        if self.unreadable:
            lines.append(f"{counted(self.unreadable, 'line')} skipped: half-written, or no response")
        if self.alone:
            lines.append(
                f"{counted(self.alone, 'response')} not scored: a function asks for the whole group, of which the run kept a part; "
                "set run.sample_responses to groups_per_step × group_size in the next run"
            )
        return lines


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
    kept, verdicts = asyncio.run(score_again(config, kept, progress))
    metrics = folder / "metrics.jsonl"
    steps = sum(line["step"] > 0 for line in read_lines(metrics)) if metrics.exists() else 0
    made = steps * config.rollout.groups_per_step * config.rollout.group_size
    report = Report(kept=len(kept), made=max(made, kept_in_all), unreadable=unreadable, alone=kept_in_all - len(kept))
    for before, now in zip(kept, verdicts, strict=True):
        compare(report, before, now)
    return report


def config_of_run(folder: Path) -> Config:
    """The config in the run directory, without the second checker, whose verdicts are not part of the reward."""
    path = folder / "config.toml"
    if not path.is_file():
        raise ValueError(f"{folder} is no run directory: it has no config.toml; give run.dir of a run that has started")
    config = load(path)
    return config.model_copy(update={"reward": config.reward.model_copy(update={"second": None})})


def read_kept(folder: Path) -> tuple[list[Kept], int]:
    """Every recorded response, in order, and the number of other lines; ValueError for rows that lack what scoring needs."""
    kept, unreadable = [], 0
    for path in sorted(folder.glob("responses/step_*.jsonl")):
        for row in rows_of(path):
            if row is None:
                unreadable += 1
            elif lacking := [name for name in NEEDED if name not in row]:
                raise ValueError(
                    f"{path} holds responses without {', '.join(lacking)}: an older version wrote it, without the fields that "
                    "scoring again needs; audit a run of this version"
                )
            else:
                kept.append(Kept(step=int(path.stem.removeprefix("step_")), row=row))
    return kept, unreadable


def refuse_other_code(config: Config, kept: Sequence[Kept]) -> None:
    """Raise ValueError where a row names code that the run's config does not: a file of responses must not choose what runs here."""
    allowed = sorted({*checkers_for_data(config.reward.checker), *config.data.own_checkers})
    for one in kept:
        if one.row["checker"] not in allowed:
            raise ValueError(
                f"{one.where} names checker {one.row['checker']!r}, needed one of {', '.join(allowed)}: the run's config names no "
                "such code; correct the row"
            )


def rows_of(path: Path) -> Iterator[dict[str, Any] | None]:
    """The objects of a file, None for any other line. Lines end in "\\n" alone, because responses may contain other line ends."""
    with path.open("rb") as lines:
        for line in lines:
            try:
                row = read_long_json(line)
            except ValueError:
                row = None
            yield row if isinstance(row, dict) else None


async def score_again(config: Config, kept: Sequence[Kept], progress: Callable[[int, int], None]) -> tuple[list[Kept], list[Verdict]]:
    """The responses that can be scored, and their new verdicts, made as a run makes them, with parts, weights and shaping."""
    from reward.scorer import Scorer

    verdicts: list[Verdict] = []
    async with Scorer(config) as scorer:
        groups = whole_groups(kept, config.rollout.group_size)
        kept = [one for one in kept if one.key in groups or "group" not in scorer.wants.of(one.row["checker"])]
        for start in range(0, len(kept), AT_ONCE):
            asked = [asked_again(config, one, groups.get(one.key, ())) for one in kept[start : start + AT_ONCE]]
            verdicts += await scorer.score(asked)
            progress(len(verdicts), len(kept))
    return list(kept), verdicts


def whole_groups(kept: Sequence[Kept], size: int) -> dict[tuple[int, Any], tuple[str, ...]]:
    """The texts of every group of which all responses were kept, in the order of its members."""
    texts: dict[tuple[int, Any], dict[Any, str]] = {}
    for one in kept:
        texts.setdefault(one.key, {})[one.row.get("member")] = one.row["response"]
    members = set(range(size))
    return {key: tuple(found[member] for member in range(size)) for key, found in texts.items() if set(found) == members}


def asked_again(config: Config, kept: Kept, group: tuple[str, ...]) -> Asked:
    """The response as the run had it scored; its seed follows from the run's."""
    row, member = kept.row, kept.row.get("member", 0)
    return Asked(
        checker=row["checker"],
        response=row["response"],
        reference=row["reference"],
        tokens=row["tokens"],
        prompt=row.get("prompt", ""),
        question=row.get("question", ""),
        prefill=row.get("prefill", ""),
        row=row.get("row", ""),
        columns=row.get("columns", {}),
        truncated=row.get("finish") == Finish.LENGTH,
        group=group,
        index=member,
        seed=seed_of_response(config.run.seed, row.get("group", 0), member),
    )


def compare(report: Report, before: Kept, now: Verdict) -> None:
    """Count the response, and add a line about it if its two verdicts differ."""
    was = before.row["reward"]
    if was is None and now.reward is None:
        report.failed_again += 1
    elif was is None:
        report.now_scored.append(f"{before.where}: {before.row['outcome']} ({before.row.get('failure')}), now reward {now.reward:g}")
    elif now.reward is None:
        report.now_failed.append(f"{before.where}: reward {was:g}, now {Outcome(now.outcome)} ({now.failure})")
    elif math.isclose(was, now.reward, rel_tol=CLOSE, abs_tol=CLOSE):
        report.same += 1
    else:
        report.different.append(f"{before.where}: reward {was:g}, now {now.reward:g}")
