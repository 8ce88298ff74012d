"""Where a run's metrics go: one class for each destination, with a row in SINKS.

A new destination is a class here, its row, and the key of `[run]` that asks for it.
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Protocol

from cluster.record.metrics.layers import LayerMetrics
from cluster.record.metrics.lines import LineFile, cut_lines, plain
from configs.arithmetic import counted
from configs.schema import Config

METRICS = "metrics.jsonl"
ROOM = 1 << 18  # bytes free without which a sink that failed is not opened anew


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
        """Bring everything written so far to the disk: a checkpoint promises that its step is on record. OSError saves no checkpoint."""

    def complaint(self) -> str:
        """What could not be written, after every step; empty if all was. A disk that is full ends no run, so `write` raises no OSError."""

    def close(self) -> None:
        """Write what is left and let go."""


class JsonLines:
    """`metrics.jsonl`, an object a step, from which resume, summary and picture read; values of single layers go to `layers.jsonl`."""

    def __init__(self, config: Config, from_step: int) -> None:
        path = config.run_dir / METRICS
        cut_lines(path, from_step)
        path.touch()
        self.file = LineFile(path)
        self.layers = LayerMetrics(config.run_dir, from_step)

    @classmethod
    def wanted(cls, config: Config) -> bool:
        """Always: the run itself reads it."""
        return True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line. NaN and infinities become null, so that every line is JSON."""
        of_the_model = self.layers.write(step, values)
        self.file.add({"step": step, **{key: plain(value) for key, value in sorted(of_the_model.items())}})

    def flush(self) -> None:
        self.file.flush()
        self.layers.flush()

    def complaint(self) -> str:
        return "; ".join(filter(None, (self.file.complaint(), self.layers.file.complaint())))

    def close(self) -> None:
        self.file.close()
        self.layers.close()


class TensorBoard:
    """Event files in `tensorboard/`, for `run.tensorboard = true`. Steps that it cannot write are counted, and it is opened anew."""

    def __init__(self, config: Config, from_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter  # imports torch, which nothing else of a run's record needs

        self.folder = config.run_dir / "tensorboard"
        self.open = partial(SummaryWriter, str(self.folder))
        self.board: Any = self.open(purge_step=from_step + 1)
        self.lost: list[int] = []  # steps
        self.why = ""

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return bool(config.run.tensorboard)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Add a curve's point for every value."""
        try:
            if self.board is None:
                if shutil.disk_usage(self.folder.parent).free < ROOM:  # its thread would print a traceback
                    self.lost.append(step)
                    return
                self.board = self.open()
            for key, value in values.items():
                self.board.add_scalar(key, value, step)
        except OSError as error:  # of the writer's own thread, which ends with it
            self._lose(step, error)

    def flush(self) -> None:
        """TensorBoard's files are for looking at: a step that they lack does not keep a checkpoint from being written."""
        try:
            if self.board is not None:
                self.board.flush()
        except OSError as error:
            self._lose(0, error)

    def complaint(self) -> str:
        if not self.lost:
            return ""
        first, last = min(self.lost), max(self.lost)
        return f"tensorboard/ lacks {counted(len(self.lost), 'step')} from {first} to {last} ({self.why})"

    def close(self) -> None:
        try:
            if self.board is not None:
                self.board.close()
        except OSError as error:
            self._lose(0, error)

    def _lose(self, step: int, error: OSError) -> None:
        self.board, self.why = None, error.strerror or str(error)
        self.lost += [step] if step else []


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
