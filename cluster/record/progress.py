"""What the terminal shows during a run: the stages of the start, a live line of the step, a few lines at the end."""

import errno
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from cluster.record.metrics.held_out import UNNAMED, describe_correctness, greedy_correctness

EVERY_S = 30.0  # least time between lines if the output is no terminal; a longer step prints a line each
PACE = 10  # steps averaged for the time left
LARGE, LONG_H, DAYS_H = 100, 10, 48


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
        self.said_at: float | None = None  # when the last step's line was printed
        self.durations: deque[float] = deque(maxlen=PACE)

    def say(self, text: str) -> None:
        """Print a line as it is: it may quote a response, and brackets in it are no markup."""
        try:
            self.console.print(text, markup=False)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # the output is a file on a full disk: this line is lost, later ones need not be
            write_to_nowhere(*((1, 2) if error.errno == errno.EIO else (1,)))  # EIO: the terminal was closed, for errors too

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Show what the run waits for and, afterwards, how long it took."""
        started = time.perf_counter()
        live = self.console.is_terminal
        if not live:
            self.say(f"{text} ...")
        with self.console.status(Text(text)) if live else _nothing():
            yield
        self.say(f"{text if live else '  done'}: {time.perf_counter() - started:.1f} s")

    @contextmanager
    def training(self, done: int) -> Iterator[None]:
        """The bar of steps, from `done`."""
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("step"), MofNCompleteColumn(), BarColumn(12), TextColumn("{task.description}", markup=False))
        with Bar(*columns, console=self.console) as self.bar:
            self.bar.add_task("", total=self.steps, completed=done)
            yield
        self.bar = None

    def exchange(self, stage: str) -> None:
        """Engines and learner begin a stage of a publish in which they wait for each other: too short a time to show."""

    def straggler(self, text: str) -> None:
        """Show a group that the step waits for: in the bar's line until the step is done, or as a line of its own."""
        if self.bar is None:
            self.say(text)
        else:
            self.bar.update(self.bar.task_ids[0], description=text)

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Show a finished step: on the bar, or as a line every EVERY_S seconds. The first, last and evaluated steps always have a line."""
        self.durations.append(values["seconds/step"])
        held_out = greedy_correctness(values)
        line = describe_step(values, (self.steps - step) * sum(self.durations) / len(self.durations))
        whole = f"step {step:>{len(str(self.steps))}}/{self.steps}  {line}"
        if self.bar is not None:
            self.bar.update(self.bar.task_ids[0], completed=step, description=line)
            if held_out:
                self.say(f"step {step}: {describe_correctness(values)}")
            return
        now = time.monotonic()
        # A tenth of tolerance: steps of just 30 s must not lose every second line to the clock.
        due = self.said_at is None or now - self.said_at >= 0.9 * EVERY_S
        if due or held_out or step == self.steps:
            self.said_at = now
            self.say(whole)
        if held_out.keys() - {UNNAMED}:
            self.say(f"step {step}: {describe_correctness(values)}")


def describe_step(values: Mapping[str, float], left_s: float) -> str:
    """The numbers of a step that a glance needs, and the time left.

    Held-out correctness, where it is new, takes the entropy's place, and so do tool calls an episode, where there are any.
    """
    held_out = greedy_correctness(values).get(UNNAMED)
    if held_out is not None:
        middle = f"{UNNAMED} {held_out:.3f}"
    elif values.get("tool/calls"):
        middle = f"calls {short(values['tool/calls'])}"
    else:
        middle = f"entropy {values['entropy']:.3f}"
    turns = f"  turns {short(values['turns/mean'])}" if "turns/mean" in values else ""
    return (
        f"reward {values['reward/mean']:.3f}  length {short(values['length/mean'])}{turns}  {middle}  "
        f"{short(values['seconds/step'])} s a step" + (f"  {clock(left_s)} left" if left_s else "")
    )


def short(number: float) -> str:
    """Three digits of a small number, all whole digits of a large one."""
    return f"{number:,.0f}" if number >= LARGE else f"{number:.3g}"


def clock(seconds: float) -> str:
    """A duration: minutes and seconds, with hours before them; from LONG_H hours in hours, from two days in days and hours."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    if hours >= DAYS_H:
        return f"{hours // 24} d {hours % 24} h"
    if hours >= LONG_H:
        return f"{hours} h"
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


@contextmanager
def _nothing() -> Iterator[None]:
    yield
