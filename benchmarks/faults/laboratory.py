"""Runs a schedule: one driver after another, each resumes what the last one left, until the last step is learned and saved."""

import gc
import shutil
import sys
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from benchmarks.faults.asked import config_of
from benchmarks.faults.disk import Disk, damage
from benchmarks.faults.driver import Driver, End
from benchmarks.faults.history import History
from benchmarks.faults.invariants import audited, is_typed, violations
from benchmarks.faults.plan import Fault, Reference, Schedule, Shape, Times, draw_schedule, world_of
from cluster.causes.cause import find_cause

LONGEST = 40.0  # deadlines that a driver may take
PATIENCE = 3  # drivers that may fail without a new fault


@dataclass(kw_only=True)
class Result:
    """What became of a schedule."""

    seed: int
    faults: Sequence[Fault]
    violations: list[str] = field(default_factory=list)
    struck: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)  # how each driver ended
    seconds: float = 0.0  # virtual, all drivers together
    useful: float = 0.0  # of the same run without faults

    @property
    def ettr(self) -> float:
        """Useful over wall time."""
        return self.useful / self.seconds if self.seconds else 0.0


class Laboratory:
    """A folder, and a disk below it. One a process."""

    def __init__(self, root: Path, times: Times | None = None) -> None:
        self.times = times or Times()
        self.folder = root / "run"
        self.disk = Disk(root)
        root.mkdir(parents=True, exist_ok=True)
        self._reference = cache(self._run_without_faults)

    def schedule(self, seed: int) -> Schedule:
        """The schedule of a seed."""
        world = Shape.draw(world_of(seed), self.times)
        return draw_schedule(seed, world, self.reference(world))

    def run_seed(self, seed: int) -> Result:
        """Run the schedule of a seed."""
        return self.run(self.schedule(seed))

    def reference(self, shape: Shape) -> Reference:
        """The run of a world without faults."""
        return self._reference(shape)

    def run(self, schedule: Schedule) -> Result:
        """Run a schedule and judge it."""
        reference = self.reference(schedule.shape)
        result = Result(seed=schedule.seed, faults=tuple(schedule.faults), useful=reference.seconds)
        history = History()
        self.drive(schedule.shape, list(schedule.faults), history, result)
        result.struck = history.struck
        if not result.violations:
            result.violations += violations(config_of(self.folder, schedule.shape), schedule.shape, history, reference)
        return result

    def warm(self, seeds: int) -> None:
        """Run the fault-free reference of every world that these schedules need."""
        for world in {world_of(seed) for seed in range(seeds)}:
            self.reference(Shape.draw(world, self.times))

    def drive(self, shape: Shape, faults: list[Fault], history: History, result: Result, until: float = float("inf")) -> int:
        """Start drivers until one finishes, until something happens that must not, or until `until`; the callbacks of all."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.disk.synced.clear()
        self.disk.operations = 0
        config = config_of(self.folder, shape)
        turns, tries, damaged = 0, 0, ""
        while True:
            known = len(history.struck)
            end = min(LONGEST * shape.times.deadline, until - result.seconds)
            with self.disk.hooked():
                ended = Driver(config, shape, faults, history, self.disk, turns, result.seconds, end).run()
            turns += ended.turns
            result.seconds += ended.seconds
            result.ends.append(self._describe(ended.how, ended.error))
            if result.seconds >= until:
                return turns
            if ended.how is End.STUCK:
                result.violations.append(f"the run hung: {ended.error}")
                return turns
            if ended.how is End.FAILED and ended.error is not None and not is_typed(ended.error, config):
                told = "".join(traceback.format_exception(ended.error))
                result.violations.append(f"the run ended without a cause of ours: {ended.error!r}\n{told}")
                return turns
            if ended.how is End.FINISHED:
                return turns
            whole = not ended.lost_lines  # otherwise files may lack their newest lines until the run is resumed
            del ended
            bury()
            if whole:
                # A driver that dies before it sets a damaged checkpoint aside leaves it to its successor: the audit is right to say so.
                result.violations += [text for text in audited(config) if not damaged or f"{damaged} is damaged" not in text]
            if result.violations:
                return turns
            if history.damage:
                history.damage = False
                damaged, _, _ = damage(config.run_dir / "checkpoints", shape.chance("damage", turns)).partition("/")
            tries = 0 if len(history.struck) > known else tries + 1
            if tries == PATIENCE:
                result.violations.append(f"{PATIENCE} drivers in a row could not go on without a new fault: {result.ends[-1]}")
                return turns
            result.seconds += shape.times.driver_start

    def _describe(self, how: End, error: BaseException | None) -> str:
        return how.value if error is None or how is End.STUCK else f"{how}: {find_cause(error).line}"

    def _run_without_faults(self, shape: Shape) -> Reference:
        result, history = Result(seed=-1, faults=()), History()
        turns = self.drive(shape, [], history, result)
        result.violations += violations(config_of(self.folder, shape), shape, history, None)
        if result.violations:
            raise RuntimeError(f"world {shape.seed} fails without any fault: {result.violations}")
        (weights,) = history.weights[shape.steps]
        return Reference(seconds=result.seconds, turns=turns, operations=self.disk.operations, sites=dict(history.sites), weights=weights)


def bury() -> None:
    """Let go of the unfinished work of a killed driver. What its clean-up complains of is of no account: it is not there any more."""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            gc.collect()
    finally:
        sys.unraisablehook = hook


def shrink(laboratory: Laboratory, schedule: Schedule) -> Schedule:
    """The fewest of the faults that still fail."""
    faults = list(schedule.faults)
    for fault in schedule.faults:
        fewer = [other for other in faults if other is not fault]
        if laboratory.run(replace(schedule, faults=fewer)).violations:
            faults = fewer
    return replace(schedule, faults=faults)
