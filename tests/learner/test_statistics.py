from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from learner.batch.tensors import Batch
from learner.process_group import largest_over_ranks
from learner.statistics import StepStatistics
from tests.toys.batches import whole_batch
from tests.toys.learner import toy_group
from tests.toys.process_group import alone

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


def batch_of(engine: np.ndarray) -> Batch:
    """One response per row of the given log-probs; the last token of each row is masked."""
    logprobs = torch.from_numpy(engine)
    mask = torch.ones(engine.shape, dtype=torch.bool)
    mask[:, -1] = False
    return replace(whole_batch((), [toy_group(0)], 0), engine_logprobs=logprobs, mask=mask)


def test_k_is_told_by_its_mean_extremes_tail_and_divergences() -> None:
    rng = np.random.default_rng(0)
    engine, old = -rng.random((40, 101)), -rng.random((40, 101))
    statistics = StepStatistics(CPU)
    for rows in (slice(0, 7), slice(7, 7), slice(7, 40)):
        statistics.add_mismatch(torch.from_numpy(old[rows]), batch_of(engine[rows]))
    metrics = statistics.describe(1, 1)
    log_k = (old - engine)[:, :-1].ravel()
    k = np.exp(log_k)
    expected = {
        "mean": np.abs(log_k).mean(),
        "max": np.abs(log_k).max(),
        "p999": np.sort(np.abs(log_k))[-4],  # four of 4,000 tokens are a thousandth
        "k1": -log_k.mean(),
        "kl": (k - 1 - log_k).mean(),
        "chi2": (k**2).mean() - 1,
        "ess": k.sum() ** 2 / (k.size * (k**2).sum()),
        "ratio_mean": k.mean(),
        "ratio_min": k.min(),
        "ratio_max": k.max(),
        "ratio_p999": np.sort(k)[-4],
    }
    assert {name.removeprefix("mismatch/"): value for name, value in metrics.items() if name.startswith("mismatch/")} == pytest.approx(
        expected, rel=1e-6
    )


def test_a_step_without_the_engines_log_probs_tells_nothing_of_k() -> None:
    statistics = StepStatistics(CPU)
    statistics.add_mismatch(torch.zeros(1, 1), replace(whole_batch((), [toy_group(0)], 0), engine_logprobs=None))
    assert not [name for name in statistics.describe(1, 1) if name.startswith("mismatch/")]


def test_sums_add_up_over_micro_batches_and_maxima_do_not() -> None:
    statistics = StepStatistics(CPU)
    for tokens, largest in ((3.0, 0.5), (5.0, 0.2)):
        statistics.add({"tokens": torch.tensor(tokens), "clipped_positive_high": 1.0, "max_abs_log_ratio": torch.tensor(largest)})
    metrics = statistics.describe(2, 1)
    assert (metrics["learned_tokens"], metrics["clip/high"], metrics["clip/positive_high"], metrics["clip/low"]) == (8.0, 0.25, 0.25, 0.0)
    assert metrics["ratio/max_abs_log"] == 0.5


def test_the_largest_values_are_padded_where_there_are_too_few() -> None:
    found = largest_over_ranks(torch.tensor([1.0, 3.0, 2.0]), 5)
    assert found.tolist() == [3.0, 2.0, 1.0, float("-inf"), float("-inf")]


def test_responses_without_their_experts_are_counted_over_micro_batches() -> None:
    statistics = StepStatistics(CPU)
    assert statistics.describe(1, 1)["routing/missing"] == 0
    statistics.add({"unrouted": 2})
    statistics.add({"unrouted": 1})
    assert statistics.describe(1, 1)["routing/missing"] == 3
