"""What a run tells about itself: `metrics.jsonl` (the truth, an object a step), readable responses, TensorBoard when asked.

Values of single layers are kept apart, by `cluster.layers`.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cluster.engines import Scored
from cluster.layers import LayerMetrics
from cluster.lines import cut_lines, plain, read_lines
from configs.schema import Config
from rollout.types import GroupSummary

Values = dict[str, float]


class Metrics:
    """The metric files of one run; on resume, lines after the checkpoint are cut off before new ones are written."""

    def __init__(self, config: Config, from_step: int) -> None:
        self.folder = config.run_dir
        self.path = self.folder / "metrics.jsonl"
        cut_lines(self.path, from_step)
        self.layers = LayerMetrics(self.folder, from_step)
        self.file = self.path.open("a")
        self.board: Any = None
        if config.run.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=from_step + 1)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the step's line; NaN and infinities become null, so that every line is JSON."""
        of_the_model = self.layers.write(step, values)
        line = {"step": step, **{key: plain(value) for key, value in sorted(of_the_model.items())}}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()
        if self.board is not None:
            for key, value in values.items():
                self.board.add_scalar(key, value, step)

    def read(self) -> list[dict[str, Any]]:
        """Every line so far."""
        return read_metrics(self.folder)

    def write_responses(self, step: int, groups: Sequence[Scored], limit: int) -> None:
        """Keep a few responses of the step as people read them: prompt, response, reference, verdict."""
        shown = [(scored, text, verdict) for scored in groups for text, verdict in scored.texts][:limit]
        if not shown:
            return
        folder = self.folder / "responses"
        folder.mkdir(exist_ok=True)
        with (folder / f"step_{step:06d}.jsonl").open("w") as file:
            for scored, text, verdict in shown:
                row = {
                    "group": scored.summary.group_id,
                    "prompt": scored.prompt.text,
                    "response": text,
                    "reference": scored.prompt.reference,
                    "reward": verdict.reward,
                    "failure": verdict.failure,
                    "parts": verdict.parts,
                }
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")

    def flush(self) -> None:
        """Bring every line to the disk."""
        os.fsync(self.file.fileno())
        self.layers.flush()

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        self.layers.close()
        if self.board is not None:
            self.board.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics; one that a killed driver left half-written is passed over."""
    return read_lines(folder / "metrics.jsonl")


def describe_groups(summaries: Sequence[GroupSummary], step: int) -> Values:
    """Rewards, lengths, finish and staleness of a step's groups. A token is stale by the steps learned since its weights went out."""
    rewards = np.concatenate([s.rewards for s in summaries])
    scored = rewards[np.isfinite(rewards)]
    correct = np.concatenate([s.correct for s in summaries])
    lengths = np.concatenate([s.lengths for s in summaries])
    stale = np.array([step - 1 - s.oldest_version for s in summaries])
    nan = float("nan")
    return {
        "reward/mean": float(scored.mean()) if scored.size else nan,
        "reward/std": float(scored.std()) if scored.size else nan,
        "reward/min": float(scored.min()) if scored.size else nan,
        "reward/max": float(scored.max()) if scored.size else nan,
        "reward/correct": float(np.nanmean(correct)) if scored.size else nan,
        "reward/failures": float(rewards.size - scored.size),
        "groups/all_equal": float(
            np.mean([np.ptp(s.correct[np.isfinite(s.correct)]) == 0 if np.isfinite(s.correct).any() else True for s in summaries])
        ),
        "length/mean": float(lengths.mean()),
        "length/max": float(lengths.max()),
        "length/truncated": float(np.concatenate([s.truncated for s in summaries]).mean()),
        "staleness/mean": float(stale.mean()),
        "staleness/max": float(stale.max()),
        "tokens": float(lengths.sum()),
    }
