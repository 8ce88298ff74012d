"""What a run records of each step: its metrics, written through the sinks, and a few responses as people read them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from cluster.record.metrics.finite import mean_of_finite
from cluster.record.metrics.layers import KEY
from cluster.record.metrics.lines import plain, read_lines, step_files
from cluster.record.metrics.responses import describe_response, weighed_groups
from cluster.record.metrics.sinks import METRICS, Sink, open_sinks
from configs.arithmetic import counted
from configs.digits import write_long_json
from configs.schema import Config
from learner.loss.advantages import differ
from reward.shaping import DISAGREE, SECOND, disagrees
from rollout.types import GroupSummary, Outcome
from rollout.window.scored import Scored, Text

Values = dict[str, float]
OnStep = Callable[[dict[str, Any]], object]  # gets a line of metrics.jsonl


class Metrics:
    """The record of one run. On resume, what came after the checkpoint is cut off before anything new is written."""

    def __init__(self, config: Config, from_step: int, on_step: OnStep | None = None) -> None:
        """`on_step` gets the values of each step that is learned, and the run waits for it; what it raises ends the run."""
        self.config, self.folder, self.on_step = config, config.run_dir, on_step
        self.sinks: list[Sink] = []
        self.lost: dict[str, list[int]] = {}  # steps whose texts a full disk did not take, by folder
        self.on_lost: Callable[[str], object] = lambda name: None  # hears of each file that a full disk did not take
        self.cut(from_step)

    def cut(self, from_step: int) -> None:
        """Drop what was written after a step, and open every sink there."""
        self.close()
        for name in ("responses", "disagreements"):
            for step, path in step_files(self.folder / name):
                if step > from_step:
                    path.unlink()
        self.sinks = open_sinks(self.config, from_step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step to every sink."""
        for sink in self.sinks:
            sink.write(step, values)
        if self.on_step is not None and step > 0:
            self.on_step({"step": step, **{key: plain(value) for key, value in sorted(values.items()) if not KEY.fullmatch(key)}})

    def write_texts(self, step: int, groups: Sequence[Scored]) -> None:
        """Write what a step keeps for people to read."""
        self.write_responses(step, groups, self.config.run.sample_responses)
        self.write_disagreements(step, groups, self.config.reward.keep_disagreements)

    def write_responses(self, step: int, groups: Sequence[Scored], limit: int) -> None:
        """Write a few responses of the step for people to read: prompt, response, reference, verdict, advantage."""
        spread = self.config.run.sample_groups
        each = texts_per_group(limit, len(groups), spread)
        shown = [[(place, text) for text in scored.texts if text.member < each] for place, scored in enumerate(groups[: spread or None])]
        self._keep("responses", step, groups, by_turns(shown)[:limit])

    def write_disagreements(self, step: int, groups: Sequence[Scored], limit: int) -> None:
        """Write a few responses on which the row's checker and reward.second disagree, the first of each group first."""
        odd = [[(place, text) for text in scored.texts if disagrees(text.verdict)] for place, scored in enumerate(groups)]
        self._keep("disagreements", step, groups, by_turns(odd)[:limit])

    def _keep(self, name: str, step: int, groups: Sequence[Scored], shown: Sequence[tuple[int, Text]]) -> None:
        """Write texts of a step's groups, each with the position of its group."""
        if not shown:
            return
        path = self.folder / name / f"step_{step:06d}.jsonl"
        weighed = weighed_groups(self.config, groups, {place for place, _ in shown})
        rows = [describe_response(groups[place], text, weighed[place]) for place, text in shown]
        lines = [write_long_json(row, ensure_ascii=False, default=str) + "\n" for row in rows]
        try:
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(lines), encoding="utf-8", errors="backslashreplace")
        except OSError:
            self.lost.setdefault(name, []).append(step)
            path.unlink(missing_ok=True)
            self.on_lost(f"{name}/{path.name}")

    def flush(self) -> None:
        """Bring everything written so far to the disk."""
        for sink in self.sinks:
            sink.flush()

    def catch_up(self) -> None:
        """Write what a full disk did not take, if it does now; `complaint` says what still waits."""
        if any(sink.complaint() for sink in self.sinks):
            with suppress(OSError):
                self.flush()

    def complaint(self) -> str:
        """What could not be written; empty if all was."""
        texts = [f"{name}/ lacks {counted(len(steps), 'step')} from {steps[0]} to {steps[-1]}" for name, steps in self.lost.items()]
        return "; ".join(filter(None, (*(sink.complaint() for sink in self.sinks), *texts)))

    def close(self) -> None:
        """Close every sink, also those behind one that raises."""
        with ExitStack() as closing:
            for sink in self.sinks:
                closing.callback(sink.close)
            self.sinks = []


def texts_per_group(limit: int, groups: int, spread: int = 0) -> int:
    """How many responses of each group keep their text, so that `spread` groups of a step, or with 0 all, have `limit` of them."""
    return -(-limit // min(spread or groups, groups))


def by_turns(rows: Sequence[Sequence[tuple[int, Text]]]) -> list[tuple[int, Text]]:
    """The first of every group, then the second of every group, and so on."""
    return [row for turn in zip_longest(*rows) for row in turn if row is not None]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics; one without a step is skipped, such as one that a killed driver left half-written."""
    return [row for row in read_lines(folder / METRICS) if type(row.get("step")) is int]


def describe_groups(summaries: Sequence[GroupSummary], step: int) -> Values:
    """Rewards, lengths, truncation and staleness of a step's groups. Staleness: steps learned since the token's weights were published."""
    rewards = np.concatenate([s.rewards for s in summaries])
    scored = rewards[np.isfinite(rewards)]
    correct = np.concatenate([s.correct for s in summaries])
    lengths = np.concatenate([s.sampled for s in summaries])
    stale = np.array([step - 1 - s.oldest_version for s in summaries])
    nan = float("nan")
    return {
        "reward/mean": mean_of_finite(rewards),
        "reward/std": float(scored.std()) if scored.size else nan,
        "reward/min": float(scored.min()) if scored.size else nan,
        "reward/max": float(scored.max()) if scored.size else nan,
        "reward/correct": float(np.nanmean(correct)) if scored.size else nan,
        "reward/failures": float(rewards.size - scored.size),
        "reward/unfinished_thoughts": float(sum(s.unfinished.sum() for s in summaries if s.unfinished is not None)),
        **describe_parts(summaries),
        "seconds/score": float(np.mean([s.scoring_s for s in summaries])),
        "groups/all_equal": float(
            np.mean([np.ptp(s.correct[np.isfinite(s.correct)]) == 0 if np.isfinite(s.correct).any() else True for s in summaries])
        ),
        "groups/no_signal": float(np.mean([not differ(s.rewards[np.isfinite(s.rewards)]) for s in summaries])),
        "length/mean": float(lengths.mean()),
        "length/max": float(lengths.max()),
        "length/truncated": float(np.concatenate([s.truncated for s in summaries]).mean()),
        "staleness/mean": float(stale.mean()),
        "staleness/max": float(stale.max()),
        "tokens": float(lengths.sum()),
    }


def describe_parts(summaries: Sequence[GroupSummary]) -> Values:
    """How many responses had each outcome, the mean of every further part of the reward, and how often reward.second disagrees."""
    outcomes = list(chain.from_iterable(s.outcomes for s in summaries))
    values = {f"reward/{outcome}": float(outcomes.count(outcome)) for outcome in Outcome if outcome is not Outcome.SCORED}
    names = sorted({name for s in summaries for name in s.parts} - {"correct"})
    for name in names:
        numbers = np.concatenate([s.parts.get(name, np.full(len(s.rewards), np.nan)) for s in summaries])
        values[f"reward/part/{name}"] = mean_of_finite(numbers)
        if name == SECOND:
            apart = np.abs(numbers - np.concatenate([s.correct for s in summaries]))
            values["reward/disagreement"] = float((apart[np.isfinite(apart)] >= DISAGREE).mean()) if np.isfinite(apart).any() else 0.0
    return values
