"""The way back after a spike of the gradient (`learner.on_spike = "rollback"`): the update is dropped, and the run goes back to its newest
checkpoint with a lower learning rate.

The ledger has the rate before anything else happens. So the run keeps it, however it goes on.
"""

import math
from collections.abc import Callable, Mapping, Sequence

from configs.arithmetic import counted
from configs.errors import RunFailed
from configs.schema import Config


class Spiked(RunFailed):
    """An update spiked or was not finite, and the run must not go on from it."""

    def __init__(self, step: int, text: str) -> None:
        super().__init__(text)
        self.step = step

    def __reduce__(self) -> tuple[type["Spiked"], tuple[int, str]]:
        return type(self), (self.step, str(self))


Record = Callable[[int, int, float, str], object]  # gets the step that spiked, the one to go back to, the new share of the rate, and why


def refuse_spikes(config: Config, step: int, values: Mapping[str, float], *, keep: bool) -> None:
    """Raise Spiked where an update of the step spiked and the run is to go back. With `keep` the step stays, without that update."""
    count = int(values.get("updates_spiked", 0))
    if count and config.learner.on_spike == "rollback" and not keep:
        raise Spiked(step, f"step {step}: {describe(count, values, float(config.learner.spike_factor))}")


def describe(count: int, values: Mapping[str, float], factor: float) -> str:
    """What spiked, in words."""
    norm, usual = values.get("grad_norm", math.nan), values.get("grad_norm_median")
    what = f"{counted(count, 'update')} spiked"
    if not math.isfinite(norm):
        return f"{what}: the gradient was not finite"
    against = "" if usual is None else f", the median before it {usual:.3g} (learner.spike_factor = {factor:g})"
    return f"{what}: the gradient's norm is {norm:.3g}{against}"


def spike_in(error: BaseException) -> Spiked | None:
    """The spike that ended an attempt, if one did."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := spike_in(inner))), None)
    return error if isinstance(error, Spiked) else None


class Rollbacks:
    """Counts the rollbacks of one run, resumed or not."""

    def __init__(self, config: Config, rates: Sequence[float], record: Record, say: Callable[[str], object]) -> None:
        """`rates` has the share of the learning rate after every rollback so far."""
        self.learner, self.record, self.say = config.learner, record, say
        self.count = len(rates)
        self.rate = rates[-1] if rates else 1.0
        self.step: int | None = (
            None  # whose spike took this driver back last: if it spikes again, its data are the cause, and no rate helps
        )

    def add(self, spike: Spiked, back_to: int, where: str) -> None:
        """Lower the rate and record it; Spiked if there were too many. `where` names the step `back_to` to a person."""
        learner = self.learner
        if self.count >= learner.rollbacks:
            raise Spiked(
                spike.step,
                f"{spike}; {counted(self.count, 'rollback')} (learner.rollbacks) are used up: resume the run with a lower learner.lr "
                f'({learner.lr:g}, of which {self.rate:.3g} times is used by now), or drop such updates with learner.on_spike = "skip"',
            ) from spike
        self.count, self.step = self.count + 1, spike.step
        self.rate *= float(learner.rollback_lr)
        self.record(spike.step, back_to, self.rate, str(spike))
        self.say(
            f"warning: {spike}: the run goes back to {where} with {self.rate:.3g} times its learning rate. "
            f"Rollback {self.count} of {learner.rollbacks} (learner.rollbacks)"
        )

    def describe(self) -> dict[str, float]:
        """The metric of a run that may go back."""
        return {"learner/rollbacks": float(self.count)} if self.learner.on_spike == "rollback" else {}
