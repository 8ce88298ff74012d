"""RSPO's router shift: the paper's quantities by hand, and measured in a model whose weights have moved."""

from collections.abc import Sequence
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.presets import PRESETS, Objective
from learner.batch.layout import Layout
from learner.batch.plan import plan_step
from learner.batch.row import MicroBatch
from learner.batch.tensors import Batch
from learner.experts.router_shift import RouterState, Shift
from learner.measurement import Measurement, Part
from learner.mismatch.routing_watch import RoutingWatch
from rollout.types import Group, GroupSummary
from tests.learner.test_balance import replayed
from tests.toys.balance import Probabilities, ToyMixture
from tests.toys.batches import whole_batch
from tests.toys.learner import toy_group
from tests.toys.one_batch import batch_loss
from tests.toys.run import run_config

FLOOR = 0.9


def see(watcher: RouterState | Shift, layers: Sequence[Sequence[Sequence[float]]], layout: Layout) -> None:
    for layer, probs in enumerate(layers):
        tensor = torch.tensor(probs)
        watcher.see(layer, tensor, tensor.topk(2).indices, layout)


def test_two_tokens_by_hand() -> None:
    """Layers × positions × experts; the last position predicts nothing, so its routers must not matter."""
    last = [0.9, 0.05, 0.05]
    start = [[[0.5, 0.45, 0.05], [0.6, 0.3, 0.1], last], [[0.2, 0.7, 0.1], [0.4, 0.35, 0.25], last]]
    now = [[[0.45, 0.55, 0.0], [0.1, 0.9, 0.0], [0.0, 0.1, 0.9]], [[0.2, 0.7, 0.1], [0.2, 0.35, 0.45], [0.0, 0.1, 0.9]]]
    layout = Layout(place=None, shape=(1, 3))
    state = RouterState(1, floor=0.8)
    see(state, start, layout)
    shift = Shift(state)
    see(shift, now, layout)
    # The last layer of the second token takes experts 2 and 1 now; those of the start, 0 and 1, are the ones compared.
    by_hand = [np.mean(np.log([0.5 / 0.45, 0.55 / 0.45, 1, 1])), np.mean(np.log([0.6 / 0.1, 0.9 / 0.3, 0.4 / 0.2, 1]))]
    assert by_hand == pytest.approx([0.076508, 0.895880], abs=1e-6)
    assert shift.distance()[0].tolist() == pytest.approx(by_hand, abs=1e-6)
    assert shift.log_factor()[0].exp().tolist() == pytest.approx([0.926346, 0.8], abs=1e-6)
    sums = shift.sums(torch.tensor([[True, True]]))
    assert sums["shift_factor"].item() == pytest.approx(0.926346 + 0.408248, abs=2e-6)
    assert (int(sums["shift_tokens"]), int(sums["shift_floored"])) == (2, 1)
    assert int(shift.sums(torch.tensor([[True, False]]))["shift_floored"]) == 0


def test_a_probability_of_nothing_is_no_infinite_distance() -> None:
    layout = Layout(place=None, shape=(1, 2))
    state = RouterState(1, floor=0.5)
    see(state, [[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]], layout)
    shift = Shift(state)
    see(shift, [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]], layout)
    assert torch.isfinite(shift.distance()).all()
    assert shift.log_factor().item() == pytest.approx(log(0.5))


def moved(model: ToyMixture) -> ToyMixture:
    """The same model after an update."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()), dtype=torch.float64)
    return model


def whole_plan(groups: list[Group]) -> MicroBatch:
    return (
        plan_step([GroupSummary.of(g) for g in groups], PRESETS["gmpo"], updates=1, ranks=1, micro_batch_tokens=10_000, response_tokens=6)
        .updates[0]
        .rows
    )


def by_hand(before: Probabilities, after: Probabilities, batch: Batch) -> np.ndarray:
    """Δ [B, T], token by token; 0 where nothing is learned."""
    distance = np.zeros(batch.mask.shape)
    for row, t in batch.mask.nonzero().tolist():
        position = batch.prompt_width + t - 1
        layers = []
        for layer, taken in before.taken.items():
            old, new = before.probs[layer][row, position].tolist(), after.probs[layer][row, position].tolist()
            layers.append(np.mean([abs(log(new[e]) - log(old[e])) for e in taken[row, position].tolist()]))
        distance[row, t] = np.mean(layers)
    return distance


def measure(model: ToyMixture, folder: str, routing: str, first: bool = False) -> tuple[Part, Probabilities]:
    """A part as the learner measures it before the step's first update, and the router probabilities of that pass."""
    groups = [toy_group(5), toy_group(6)]
    rows = whole_plan(groups)
    batch = whole_batch(rows, groups, 0)
    sections = {"learner": {"updates_per_step": 2, "routing": routing}, "objective": {"preset": "gmpo", "router_shift": FLOOR}}
    config = run_config(folder, **sections, rollout={"groups_per_step": 2, "capture_routing": routing == "replay_rollout"})
    batch = replace(batch, experts=replayed(batch))
    seen = Probabilities()
    model(batch, batch.experts if routing == "replay_rollout" else None, (seen,))
    watch = RoutingWatch((), torch.device("cpu"))
    zero: Any = model
    measurement = Measurement(config=config, objective=config.whole_objective, zero=zero, reference=None, watch=watch, shape=None)
    return measurement.part(batch, rows, first), seen


@pytest.mark.parametrize("routing", ["live", "replay_learner", "replay_rollout"])
@pytest.mark.parametrize(("packed", "checkpoints"), [(False, False), (True, True)])
def test_what_is_measured_after_weights_have_moved_is_what_one_computes_by_hand(
    tmp_path: Path, routing: str, packed: bool, checkpoints: bool
) -> None:
    model = ToyMixture(packed=packed, checkpoints=checkpoints)
    part, before = measure(model, str(tmp_path), routing)
    assert part.routers is not None
    shift, after, at_rest = Shift(part.routers), Probabilities(), Shift(part.routers)
    model(part.batch, part.replay, (at_rest,))
    logprobs, _ = moved(model)(part.batch, part.replay, (shift, after))
    expected, mask = by_hand(before, after, part.batch), part.batch.mask
    assert at_rest.distance()[mask].abs().max() < 1e-12
    assert len(set(np.round(expected[mask.numpy()], 6))) > 5
    assert ((shift.start.floor > np.exp(-expected))[mask.numpy()]).any()
    np.testing.assert_allclose(shift.distance()[mask].detach().numpy(), expected[mask.numpy()], atol=1e-12)
    model.zero_grad()
    torch.autograd.backward(logprobs.sum())  # layers computed again must not be measured again
    np.testing.assert_allclose(shift.distance()[mask].detach().numpy(), expected[mask.numpy()], atol=1e-12)
    assert not shift.log_factor().requires_grad


def test_gmpo_with_the_shift_is_rspo(tmp_path: Path) -> None:
    """arXiv 2510.23027: the factor multiplies the ratio before it is clipped and before the geometric mean."""
    model = ToyMixture()
    part, before = measure(model, str(tmp_path), "live")
    assert part.routers is not None
    assert part.old_logprobs is not None
    shift, after = Shift(part.routers), Probabilities()
    logprobs, _ = moved(model)(part.batch, None, (shift, after))
    batch = part.batch
    rspo = Objective(preset=PRESETS["gmpo"])
    loss = batch_loss(rspo, logprobs, batch, old=part.old_logprobs, log_shift=shift.log_factor())
    factor = np.log(np.maximum(np.exp(-by_hand(before, after, batch)), FLOOR))
    ratio = (logprobs.detach() - part.old_logprobs).numpy() + factor
    expected = 0.0
    for row, mask in enumerate(batch.mask.numpy()):
        advantage = float(batch.advantages[row])
        d = ratio[row, mask]
        d = np.minimum(d, 0.4) if advantage > 0 else np.maximum(d, -0.4)
        expected += float((-advantage * np.exp(d.mean()) * batch.token_weight[row].numpy()[mask]).sum())
    assert loss.item() == pytest.approx(expected, abs=1e-7)
    plain = batch_loss(rspo, logprobs, batch, old=part.old_logprobs)
    assert abs(loss.item() - plain.item()) > 1e-4


def test_the_first_update_measures_nothing_since_no_router_has_moved(tmp_path: Path) -> None:
    part, _ = measure(ToyMixture(), str(tmp_path), "live", first=True)
    assert part.routers is None
    assert part.old_logprobs is None
