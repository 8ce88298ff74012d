"""What the terminal shows during a run: the stages of the start, a live line of the step, a few lines at the end."""

import errno
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.text import Text

EVERY = 10  # steps between lines if the output is no terminal


class Terminal(Console):
    """The console of a run, which goes on when nobody reads it any more: a closed terminal or pipe ends no training."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on, where rich would end the process."""
        write_to_nowhere(1)


def write_to_nowhere(*descriptors: int) -> None:
    """Drop what this process writes there from now on."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


class Progress:
    """Progress of one run, drawn live on a terminal and as plain lines elsewhere."""

    def __init__(self, steps: int) -> None:
        self.console = Terminal(highlight=False, soft_wrap=True)
        self.steps = steps
        self.bar: Bar | None = None

    def say(self, text: str) -> None:
        """Print a line as it is: it may quote a response, and brackets in it are no markup."""
        try:
            self.console.print(text, markup=False)
        except OSError as error:
            write_to_nowhere(*((1, 2) if error.errno == errno.EIO else (1,)))  # EIO: the terminal was closed, for errors too

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
        held_out = values.get("eval/greedy")
        if held_out is not None:
            self.say(f"step {step}: held-out greedy accuracy {held_out:.3f}")
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step, description=line)
        elif step % EVERY == 0 or step in (1, self.steps):
            self.say(f"step {step:>4}/{self.steps}  {line}")


@contextmanager
def _nothing() -> Iterator[None]:
    yield
