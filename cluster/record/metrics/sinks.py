"""Where a run's metrics go: one class for each destination, with a row in SINKS.

A new destination is a class here, its row, and the key of `[run]` that asks for it.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from cluster.record.metrics.layers import LayerMetrics
from cluster.record.metrics.lines import cut_lines, plain
from configs.schema import Config

METRICS = "metrics.jsonl"


class Sink(Protocol):
    """One destination of the metrics of a run."""

    def __init__(self, config: Config, from_step: int) -> None:
        """Open it, and drop what an earlier attempt wrote after `from_step`."""

    @classmethod
    def wanted(cls, config: Config) -> bool:
        """Whether the config asks for it."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add the values of one step; some may be NaN or infinite."""

    def flush(self) -> None:
        """Bring everything written so far to the disk: a checkpoint promises that its step is on record."""

    def close(self) -> None:
        """Write what is left and let go."""


class JsonLines:
    """`metrics.jsonl`, an object a step, from which resume, summary and picture read; values of single layers go to `layers.jsonl`."""

    def __init__(self, config: Config, from_step: int) -> None:
        path = config.run_dir / METRICS
        cut_lines(path, from_step)
        self.file = path.open("a")
        self.layers = LayerMetrics(config.run_dir, from_step)

    @classmethod
    def wanted(cls, config: Config) -> bool:
        """Always: the run itself reads it."""
        return True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line. NaN and infinities become null, so that every line is JSON."""
        of_the_model = self.layers.write(step, values)
        line = {"step": step, **{key: plain(value) for key, value in sorted(of_the_model.items())}}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()

    def flush(self) -> None:
        os.fsync(self.file.fileno())
        self.layers.flush()

    def close(self) -> None:
        self.file.close()
        self.layers.close()


class TensorBoard:
    """Event files in `tensorboard/`, for `run.tensorboard = true`."""

    def __init__(self, config: Config, from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imports torch, which nothing else of a run's record needs

        self.board = SummaryWriter(str(config.run_dir / "tensorboard"), purge_step=from_step + 1)

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return bool(config.run.tensorboard)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for key, value in values.items():
            self.board.add_scalar(key, value, step)

    def flush(self) -> None:
        self.board.flush()

    def close(self) -> None:
        self.board.close()


SINKS: Sequence[type[Sink]] = (JsonLines, TensorBoard)


def open_sinks(config: Config, from_step: int) -> list[Sink]:
    """Every sink that the config asks for."""
    opened: list[Sink] = []
    with ExitStack() as closing:  # those that were opened, where another cannot be
        for kind in SINKS:
            if kind.wanted(config):
                opened.append(kind(config, from_step))
                closing.callback(opened[-1].close)
        closing.pop_all()
    return opened
