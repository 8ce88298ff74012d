"""Where two runs part: up to which step they are equal to the last digit, and from which step on they differ by more than their noise."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cluster.report.files import RunFiles

# Without clocks and counts of the machine: two runs of one seed and one config have these alike.
WATCHED = ("reward/mean", "grad_norm", "entropy", "length/mean", "length/truncated", "policy_kl", "mismatch/kl", "groups/no_signal")
REACH = 5  # steps whose mean is compared
SIGMAS = 4.0
LEAST = 3  # such steps in a row


@dataclass(frozen=True, slots=True)
class Parting:
    """How a metric of two runs parts. None where it never does."""

    key: str
    equal_to: int | None  # the last step up to which both have the same values; None if already the first differs
    from_step: int | None  # the first step of a lasting difference beyond the noise
    values: tuple[float, float] | None  # of both there: means of some steps


def partings(first: RunFiles, second: RunFiles) -> list[Parting]:
    """A row for each watched metric that both runs have."""
    keys = [key for key in WATCHED if key in first.keys and key in second.keys]
    return [parting(key, dict(zip(*first.curve(key), strict=True)), dict(zip(*second.curve(key), strict=True))) for key in keys]


def parting(key: str, first: Mapping[int, float], second: Mapping[int, float]) -> Parting:
    """Compare the steps that both have."""
    steps = sorted(first.keys() & second.keys())
    ours, theirs = (np.array([values[step] for step in steps]) for values in (first, second))
    differ = np.flatnonzero(ours != theirs)
    same = len(steps) if not len(differ) else int(differ[0])
    place = lasting(ours, theirs)
    values = None
    if place is not None:
        window = slice(place, place + REACH)
        values = float(ours[window].mean()), float(theirs[window].mean())
    return Parting(key, steps[same - 1] if same else None, None if place is None else steps[place], values)


def lasting(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> int | None:
    """The first place from which means of some steps differ beyond the noise of single steps, for several steps in a row."""
    if len(ours) < REACH:
        return None
    noise = np.sqrt(variance(ours) + variance(theirs)) / np.sqrt(REACH)
    gap = np.abs(np.convolve(ours - theirs, np.ones(REACH) / REACH, mode="valid"))
    beyond = gap > np.maximum(SIGMAS * noise, 1e-12)
    runs = [place for place in range(len(beyond)) if beyond[place : place + LEAST].all() and len(beyond[place:]) >= LEAST]
    return runs[0] if runs else None


def variance(values: NDArray[np.float64]) -> float:
    """The variance of single steps around their course, from the differences of neighbours."""
    return float(np.mean(np.diff(values) ** 2) / 2)
