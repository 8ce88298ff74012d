"""Where the driver itself writes a run's metrics: one class for each destination, with a row in SINKS.

Places outside the run are trackers (`cluster/record/metrics/trackers/`), which follow the files in processes of their own.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Protocol

from cluster.record.metrics.layers import LayerMetrics
from cluster.record.metrics.lines import LineFile, cut_lines, plain
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


SINKS: Sequence[type[Sink]] = (JsonLines,)


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
