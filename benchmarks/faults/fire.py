"""A long run in virtual time that loses a process every so often, and how much of its time was useful."""

from dataclasses import replace

from benchmarks.faults.asked import config_of
from benchmarks.faults.history import History
from benchmarks.faults.invariants import audited
from benchmarks.faults.laboratory import Laboratory, Result
from benchmarks.faults.plan import Shape, strikes_by_the_clock
from cluster.record.checkpoint import Checkpoints, read_position

STEPS = 1_000_000  # more than the run can do
CALM = 20, 60  # steps of two runs without faults, whose difference is the time of their further steps
RESTARTS = 100_000  # of each role: who expects a fault a minute allows that many
SHAPE = Shape(seed=0, steps=STEPS, engines=2, ranks=1, staleness=1, save_every=1, restarts=RESTARTS, crowded=True)


def under_constant_fire(laboratory: Laboratory, every_s: float, until_s: float, shape: Shape = SHAPE) -> tuple[Result, int]:
    """A run whose engines, ranks and reward workers are killed in turn, and the steps that it has saved when the time is over.

    Its useful time is what these steps take in a run without faults; the start of the run counts as lost.
    """
    shape = replace(shape, times=laboratory.times)
    first, further = (laboratory.reference(replace(shape, steps=steps)).seconds for steps in CALM)
    result, history = Result(seed=0, faults=tuple(strikes_by_the_clock(shape, every_s, until_s))), History()
    laboratory.drive(shape, list(result.faults), history, result, until_s)
    config = config_of(laboratory.folder, shape)
    newest = Checkpoints(config).newest()
    steps = read_position(newest).step if newest else 0
    result.struck, result.useful = history.struck, steps * (further - first) / (CALM[1] - CALM[0])
    result.violations += history.violations + audited(config, is_over=True)
    return result, steps
