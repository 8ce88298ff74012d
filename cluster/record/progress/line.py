"""The line of a step, and numbers as a glance reads them."""

import math
from collections.abc import Mapping, Sequence

from cluster.record.metrics.held_out import UNNAMED, greedy_correctness

WIDTH = 100  # columns that a line fits
LARGE, LONG_H, DAYS_H = 100, 10, 48


def step_line(step: int, steps: int, values: Mapping[str, float], left_s: float) -> str:
    """One line of at most WIDTH columns for a finished step."""
    number = f"step {step:>{len(str(steps))}}/{steps}"
    return f"{number}  {describe_step(values, left_s, WIDTH - len(number) - 2)}"


def describe_step(values: Mapping[str, float], left_s: float, width: int = WIDTH) -> str:
    """The numbers of a step that a glance needs, and the time left, in at most `width` columns.

    Held-out correctness, where it is new, takes the entropy's place, and so do tool calls an episode, where there are any. What a narrow
    line has no room for is left out: turns first, then the length, then the entropy.
    """
    held_out = greedy_correctness(values).get(UNNAMED)
    if held_out is not None:
        middle = f"{UNNAMED} {held_out:.3f}"
    elif values.get("tool/calls"):
        middle = f"calls {short(values['tool/calls'])}"
    else:
        middle = f"entropy {digits(values.get('entropy'))}"
    parts = [
        f"reward {digits(values.get('reward/mean'))}",
        f"length {short(values['length/mean'])}" if "length/mean" in values else "",
        f"turns {short(values['turns/mean'])}" if "turns/mean" in values else "",
        middle,
        f"{short(values['seconds/step'])} s a step",
        f"{clock(left_s)} left" if left_s else "",
    ]
    return fitting(parts, width, drop=(2, 1, 3))


def fitting(parts: Sequence[str], width: int, drop: Sequence[int]) -> str:
    """The parts in one line; those at the places `drop` are left out in that order while the line is too long."""
    left_out: list[int] = []
    while True:
        line = "  ".join(part for place, part in enumerate(parts) if part and place not in left_out)
        if len(line) <= width or len(left_out) == len(drop):
            return line
        left_out.append(drop[len(left_out)])


def digits(number: float | None) -> str:
    """Three decimals; "none" where there is no number."""
    return "none" if number is None or math.isnan(number) else f"{number:.3f}"


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
