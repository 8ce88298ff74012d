"""What counts as a spike of the gradient."""

import json
import math
from collections.abc import Sequence

import pytest

from configs.sections.learner import LearnerConfig
from learner.model.spikes import LEAST, REMEMBERED, Spikes

USUAL = [0.9, 1.0, 1.1, 1.0] * (LEAST // 4)


def spikes(norms: Sequence[float] = (), **keys: object) -> Spikes:
    """A watch that has seen these norms after the warm-up."""
    watch = Spikes(LearnerConfig.model_validate({"on_spike": "skip", **keys}))
    for norm in norms:
        watch.observe(norm, watch.warm_up + 1)
    watch.describe()
    return watch


@pytest.mark.parametrize(
    ("norms", "norm", "keys", "dropped"),
    [
        (USUAL, 10.01, {}, True),
        (USUAL, 10.0, {}, False),
        (USUAL, 5.0, {"spike_factor": 4}, True),
        (USUAL, 10.01, {"on_spike": "rollback"}, True),
        (USUAL, 1e30, {"on_spike": "go on"}, False),
        (USUAL[1:], 1e30, {}, False),
        ([*USUAL[1:], math.nan, math.inf], 1e30, {}, False),
        ([*USUAL[1:], 0.0, 0.0], 1e30, {}, False),
        ([*USUAL, 1e30, 1e30], 10.5, {}, True),
        ([1e-9] * LEAST, 1e-7, {}, True),
        (USUAL, math.nan, {}, False),
        (USUAL, math.inf, {}, False),
        ([*USUAL, *[100.0] * REMEMBERED], 500.0, {}, False),
    ],
)
def test_a_norm_is_compared_with_the_median_of_finite_ones_before(norms: list[float], norm: float, keys: dict, dropped: bool) -> None:
    assert spikes(norms, **keys).refuses(norm, update=100) is dropped


def test_the_warm_up_is_neither_judged_nor_remembered() -> None:
    watch = spikes(warmup_updates=30)
    for update in range(1, 31):
        watch.observe(1e6 if update > 1 else math.nan, update)
    assert (watch.describe(), len(watch.norms)) == ({"updates_spiked": 0.0}, 0)
    watch.restore(USUAL)
    assert (watch.refuses(99, update=30), watch.refuses(99, update=31)) == (False, True)


def test_the_metrics_of_a_step_count_what_spiked_in_it_dropped_or_not() -> None:
    watch = spikes(USUAL, on_spike="go on")
    for norm in (1.0, 50.0, math.nan):
        watch.observe(norm, update=40)
    assert watch.describe() == {"updates_spiked": 2.0, "grad_norm_median": 1.0}
    assert watch.describe()["updates_spiked"] == 0


def test_a_checkpoint_gives_the_norms_back_exactly() -> None:
    watch = spikes([1 / 3, *USUAL])
    resumed = spikes()
    resumed.restore(json.loads(json.dumps(list(watch.norms))))
    assert resumed.norms == watch.norms
    assert resumed.norms.maxlen == REMEMBERED
