"""What the terminal shows during a run: the stages of the start, a line a step, a live table on a terminal, a few lines at the end."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console
from rich.live import Live
from rich.text import Text

from cluster.record.metrics.held_out import UNNAMED, describe_correctness, greedy_correctness
from cluster.record.progress.board import Board, EngineNow
from cluster.record.progress.harmless import harmless
from cluster.record.progress.line import step_line
from cluster.record.progress.output import Output
from rollout.window.occupancy import State

PACE = 10  # steps averaged for the time left
PER_SECOND = 2  # drawings of the table
WARNING = "warning: "


class Progress:
    """Progress of one run: lines, and under them a live table where a person may look at it."""

    def __init__(self, steps: int) -> None:
        self.console = Console(file=cast(IO[str], Output()), highlight=False, soft_wrap=True, emoji=False)
        self.steps = steps
        self.board = Board(steps)
        self.live: Live | None = None
        self.durations: deque[float] = deque(maxlen=PACE)

    @property
    def is_watched(self) -> bool:
        """Whether the output is a terminal that can redraw lines. Colours may be forced into a file, a table may not."""
        return self.console.is_terminal and not self.console.is_dumb_terminal and self.console.file.isatty()

    def say(self, text: str) -> None:
        """Print a line, made harmless: it may quote a response. Brackets in it are no markup."""
        if text.startswith(WARNING):
            self.board.warn(text.removeprefix(WARNING))
        self.console.print(harmless(text), markup=False)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Show what the run waits for and, afterwards, how long it took."""
        started = time.perf_counter()
        live = self.is_watched
        if not live:
            self.say(f"{text} ...")
        with self.console.status(Text(harmless(text))) if live else _nothing():
            yield
        self.say(f"{text if live else '  done'}: {time.perf_counter() - started:.1f} s")

    @contextmanager
    def training(self, done: int) -> Iterator[None]:
        """The live table, from step `done`; it is gone when the run ends."""
        before = self.board
        self.board = Board(self.steps)
        self.board.engines, self.board.done = before.engines, done
        if not self.is_watched:
            yield
            return
        drawn = Live(get_renderable=self.board.draw, console=self.console, refresh_per_second=PER_SECOND, transient=True)
        with drawn as self.live:
            yield
        self.live = None

    def follow_engines(self, engines: Callable[[], Sequence[EngineNow]]) -> None:
        """Show the engines that this function returns."""
        self.board.engines = engines

    def follow_window(self, groups: Mapping[State, int]) -> None:
        """Show the groups in flight by state, a mapping that changes as they do."""
        self.board.window = groups

    def exchange(self, stage: str) -> None:
        """Engines and learner begin a stage of a publish in which they wait for each other: too short a time to show."""

    def straggler(self, text: str) -> None:
        """Show a group that the step waits for: in the table until the step is done, or as a line."""
        self.board.late = text
        if self.live is None:
            self.say(text)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Show a finished step as one line, and its named eval sets as another."""
        self.durations.append(values["seconds/step"])
        left_s = (self.steps - step) * sum(self.durations) / len(self.durations)
        self.board.step(step, values, left_s)
        self.say(step_line(step, self.steps, values, left_s))
        if greedy_correctness(values).keys() - {UNNAMED}:
            self.say(f"step {step}: {describe_correctness(values)}")


@contextmanager
def _nothing() -> Iterator[None]:
    yield
