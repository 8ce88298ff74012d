"""The progress of a run that shows nothing: its lines go to Python's logging."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from cluster.record.progress.progress import Progress

LOG = logging.getLogger("gatewise")


class Logged(Progress):
    """Progress for `progress=False`: lines at level INFO of the logger "gatewise", which shows nothing unless asked to."""

    def __init__(self, steps: int) -> None:
        super().__init__(steps)
        self.console.quiet = True

    def say(self, text: str) -> None:
        """Log a line; a warning has the level WARNING."""
        LOG.log(logging.WARNING if text.startswith("warning:") else logging.INFO, text)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Log what the run waits for."""
        self.say(text)
        yield

    @contextmanager
    def training(self, done: int) -> Iterator[None]:
        """No bar."""
        yield

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """No line: `on_step` gets the values."""


def progress_of(steps: int, shown: bool) -> Progress:
    return Progress(steps) if shown else Logged(steps)
