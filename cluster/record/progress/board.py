"""The live table at the foot of a terminal: the step, the reward, each engine, the window, what was warned about last."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

from cluster.record.metrics.held_out import describe_correctness
from cluster.record.progress.harmless import harmless
from cluster.record.progress.line import clock, describe_step
from rollout.window.occupancy import State

NAMED = 8  # engines that are shown one by one; of more, those alone that do not serve
DRAWN = 40  # rewards in the small curve
WARNED = 2  # warnings that stay in sight
BAR = 12  # columns
BARS = "▁▂▃▄▅▆▇█"
COLOURS = {"serving": "green", "suspect": "yellow", "dead": "red"}


class EngineNow(NamedTuple):
    """An engine at one moment."""

    number: int
    health: str
    groups: int  # that it works on


class Board:
    """What the table shows of one run. It is drawn by a thread, so it copies what others change."""

    def __init__(self, steps: int, now: Callable[[], float] = time.monotonic) -> None:
        self.steps, self.now = steps, now
        self.engines: Callable[[], Sequence[EngineNow]] = lambda: ()
        self.window: Mapping[State, int] = {}  # groups by state, changed in place by whoever counts them
        self.rewards: deque[float] = deque(maxlen=DRAWN)
        self.warnings: deque[str] = deque(maxlen=WARNED)
        self.warned = 0
        self.done, self.began = 0, now()
        self.line = self.held_out = self.late = ""
        self.left_s = 0.0
        self.since = self.began  # when the newest step was finished

    def step(self, step: int, values: Mapping[str, float], left_s: float) -> None:
        """A step is finished."""
        self.done, self.since, self.left_s, self.late = step, self.now(), left_s, ""
        self.line = describe_step(values, 0.0)
        if math.isfinite(reward := values.get("reward/mean", math.nan)):
            self.rewards.append(reward)
        if correct := describe_correctness(values):
            self.held_out = f"{correct} at step {step}"

    def warn(self, text: str) -> None:
        """A warning was printed."""
        self.warned += 1
        self.warnings.append(text)

    def draw(self) -> Table:
        """The table; each row is one line, cut where the terminal is narrower."""
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
        table.add_row("step", self._step())
        if self.line:
            table.add_row("newest", Text(self.line))
        if len(self.rewards) > 1:
            table.add_row("reward", Text(f"{curve(self.rewards)}  {self.held_out}".rstrip()))
        if engines := list(self.engines()):
            table.add_row("engines", self._engines(engines))
        if window := {state: count for state, count in dict(self.window).items() if count}:
            table.add_row("window", Text(", ".join(f"{count} {state}" for state, count in window.items())))
        if self.late:
            table.add_row("late", Text(harmless(self.late), style="yellow"))
        for text in list(self.warnings):
            table.add_row(f"warned {self.warned}", Text(harmless(text), style="yellow"))
        return table

    def _step(self) -> Text:
        filled = BAR * self.done // max(1, self.steps)
        spent = f"{clock(self.now() - self.began)} so far" + (f", {clock(self.left_s)} left" if self.left_s else "")
        running = f"  step {self.done + 1} for {clock(self.now() - self.since)}" if self.done < self.steps else ""
        return Text(f"{self.done}/{self.steps}  {'━' * filled}{'─' * (BAR - filled)}  {spent}{running}")

    def _engines(self, engines: Sequence[EngineNow]) -> Text:
        """Each engine with its groups; of many, the number in each state and those that do not serve."""
        line = Text()
        if len(engines) > NAMED:
            states = Counter(engine.health for engine in engines)
            line.append(", ".join(f"{count} {state}" for state, count in states.items()))
            line.append(f" with {sum(engine.groups for engine in engines)} groups")
        for engine in engines if len(engines) <= NAMED else [one for one in engines if one.health != "serving"][:NAMED]:
            line.append("   " if line else "")
            line.append(f"{engine.number} ", style="dim")
            line.append(engine.health, style=COLOURS.get(engine.health, "cyan"))
            line.append(f" {engine.groups}" if engine.groups else "")
        return line


def curve(numbers: Sequence[float]) -> str:
    """A small curve: a bar a number, between the least and the largest of them."""
    low, high = min(numbers), max(numbers)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((number - low) * scale)] for number in numbers)
