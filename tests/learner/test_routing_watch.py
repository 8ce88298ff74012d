"""Experts of learner and engine compared as sets, at the positions that predict learned tokens."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from learner.batch.layout import lay_out
from learner.batch.recorded import Recording
from learner.batch.tensors import Batch
from learner.experts.routers import expert_shape
from learner.mismatch.routing_watch import RoutingWatch
from tests.toys.batches import whole_batch
from tests.toys.process_group import alone
from tests.toys.rescoring import next_expert, rows_of, sampled, toy_policy

CPU = torch.device("cpu")
LAYERS, TAKEN, EXPERTS = 3, 2, 6


@pytest.fixture(autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


def toy_batch() -> tuple[Batch, NDArray[np.bool_]]:
    """Two responses with random experts in three layers, one token masked, one without experts; and the positions that count [B, S]."""
    rng = np.random.default_rng(0)
    attention = torch.tensor([[0, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]], dtype=torch.bool)
    mask = torch.tensor([[1, 1, 0], [1, 0, 1]], dtype=torch.bool)
    experts = np.stack([rng.permutation(EXPERTS)[:TAKEN] for _ in range(12 * LAYERS)]).reshape(2, 6, LAYERS, TAKEN)
    known = attention.clone()
    known[1, 4] = False
    batch = replace(
        whole_batch((), {}, 0),
        attention=attention,
        mask=mask,
        prompt_width=3,
        experts=Recording(experts=torch.from_numpy(experts.astype(np.uint8)), known=known),
    )
    # Positions 2, 3 and 4 speak of the three response tokens.
    counts = np.zeros((2, 6), bool)
    counts[0, [2, 3]] = counts[1, 2] = True
    return batch, counts


@pytest.mark.parametrize("packed", [False, True])
def test_sets_are_compared_where_learned_tokens_are_spoken_of(packed: bool) -> None:
    batch, counts = toy_batch()
    assert batch.experts is not None
    rng = np.random.default_rng(1)
    taken = rng.permuted(batch.experts.experts.numpy(), axis=-1)  # another order is no difference
    flipped: NDArray[np.bool_] = rng.random(taken.shape[:3]) < 0.5
    taken[flipped, 0] = EXPERTS
    layout = lay_out(batch.attention, packed=packed)
    watch = RoutingWatch([0, 1, 2], CPU)
    (seen,) = watch.watchers(batch)
    for layer in range(LAYERS):
        seen.see(layer, torch.empty(0), layout.flat(torch.from_numpy(taken[:, :, layer]).long()), layout)
    metrics = watch.describe()
    shares = [float(flipped[:, :, layer][counts].mean()) for layer in range(LAYERS)]
    assert [metrics[f"differ/layer_{layer:02d}"] for layer in range(LAYERS)] == pytest.approx(shares)
    assert 0 < metrics["differ"] == pytest.approx(np.mean(shares))
    assert metrics["differ_max"] == pytest.approx(max(shares))
    assert metrics["tokens_differ"] == pytest.approx(float(flipped.any(2)[counts].mean()))
    assert watch.describe() == {}, "it begins anew"


def test_a_replayed_pass_differs_nowhere_and_a_live_one_where_the_engine_went_elsewhere() -> None:
    policy = toy_policy()
    groups = [sampled(policy, 1), sampled(policy, 2, choose=next_expert)]
    batch = whole_batch(rows_of(groups), groups, 0, captured=expert_shape(policy.language_model))
    watch = RoutingWatch([0, 1], CPU)
    with torch.no_grad():
        policy(batch, batch.experts, watch.watchers(batch))
        assert set(watch.describe().values()) == {0.0}
        policy(batch, None, watch.watchers(batch))
    tokens = [sum(map(len, group.responses)) for group in groups]
    metrics = watch.describe()
    assert metrics["tokens_differ"] == pytest.approx(tokens[1] / sum(tokens))
    assert 0 < metrics["differ"] <= metrics["tokens_differ"]


def test_nobody_watches_where_the_engine_tells_no_experts() -> None:
    batch, _ = toy_batch()
    assert RoutingWatch([0], CPU).watchers(replace(batch, experts=None)) == ()
    assert RoutingWatch([], CPU).watchers(batch) == ()
    assert RoutingWatch([], CPU).describe() == RoutingWatch([0], CPU).describe() == {}
