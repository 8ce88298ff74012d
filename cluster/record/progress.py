"""What the terminal shows during a run: the stages of the start, a live line of the step, a few lines at the end."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

from cluster.record.held_out import describe_accuracies

EVERY = 10  # steps between lines if the output is no terminal


class Progress:
    """Progress of one run, drawn live on a terminal and as plain lines elsewhere."""

    def __init__(self, steps: int) -> None:
        self.console = Console(highlight=False, soft_wrap=True)
        self.steps = steps
        self.bar: Bar | None = None

    def say(self, text: str) -> None:
        """Print a line as it is: it may quote a response, and brackets in it are no markup."""
        self.console.print(text, markup=False)

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Print what the run waits for and, afterwards, how long it took."""
        started = time.perf_counter()
        with self.console.status(Text(text)) if self.console.is_terminal else _nothing():
            yield
        self.say(f"{text}: {time.perf_counter() - started:.1f} s")

    @contextmanager
    def training(self, done: int) -> Iterator[None]:
        """The bar of steps, from `done`."""
        if not self.console.is_terminal:
            yield
            return
        columns = (
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(24),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.console) as self.bar:
            self.bar.add_task("", total=self.steps, completed=done)
            yield
        self.bar = None

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Show a finished step: on the bar, or as a line every few steps."""
        mismatch = f"mismatch {values['mismatch/max']:.1e}  " if "mismatch/max" in values else ""  # unknown without rollout.logprobs
        line = (
            f"reward {values['reward/mean']:.3f}  entropy {values['entropy']:.3f}  {mismatch}"
            f"{values['tokens_per_second']:,.0f} tok/s  {values['seconds/step']:.2f} s"
        )
        if held_out := describe_accuracies(values):
            self.say(f"step {step}: {held_out}")
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step, description=line)
        elif step % EVERY == 0 or step in (1, self.steps):
            self.say(f"step {step:>4}/{self.steps}  {line}")


@contextmanager
def _nothing() -> Iterator[None]:
    yield
