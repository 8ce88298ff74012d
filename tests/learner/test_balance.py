"""The load-balancing loss of an update, and its gradient for any division of the update."""

from collections.abc import Iterator, Sequence

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from configs.presets import PRESETS
from learner.balance import Balanced, balance
from learner.batch.plan import plan_step
from learner.batch.recorded import Recording
from learner.batch.row import MicroBatch
from learner.batch.tensors import Batch
from learner.measurement import Part
from rollout.types import Group, GroupSummary
from tests.toys.balance import EXPERTS, LAYERS, TOP_K, Probabilities, ToyMixture
from tests.toys.batches import whole_batch
from tests.toys.learner import toy_group
from tests.toys.process_group import alone

COEFFICIENT = 0.7


@pytest.fixture(scope="module", autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


def replayed(batch: Batch) -> Recording:
    """Recorded experts that no router would choose: they follow from token and position, and are known for some tokens."""
    first = (batch.token_ids + batch.position_ids) % EXPERTS
    experts = torch.stack([torch.stack([first, (first + 2) % EXPERTS], -1)] * (2 * LAYERS), dim=2)
    return Recording(experts=experts, known=batch.attention & (batch.position_ids % 3 > 0))


def part_of(rows: MicroBatch, groups: Sequence[Group], replays: bool) -> Part:
    batch = whole_batch(rows, groups, 0)
    return Part(rows=rows, batch=batch, old_logprobs=None, reference_logprobs=None, replay=replayed(batch) if replays else None)


def objective_of(batch: Batch, logprobs: Tensor) -> Tensor:
    return (torch.where(batch.mask, logprobs, 0) * batch.token_weight * batch.advantages[:, None]).sum()


def gradient(model: ToyMixture) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]


def learn(model: ToyMixture, parts: Sequence[Part]) -> tuple[Balanced, list[Tensor]]:
    """The update's balancing loss and whole gradient, micro-batch by micro-batch."""
    model.zero_grad()
    balanced = balance(model, parts, COEFFICIENT)  # type: ignore[arg-type]
    for part in parts:
        logprobs, _ = model(part.batch, part.replay, (), balanced.over(part.real))
        torch.autograd.backward(objective_of(part.batch, logprobs))
    return balanced, gradient(model)


def in_one_batch(model: ToyMixture, part: Part) -> tuple[Tensor, list[Tensor]]:
    """The balancing loss written out over one batch, and its gradient by autograd."""
    model.zero_grad()
    seen = Probabilities(graph=True)
    logprobs, _ = model(part.batch, part.replay, (seen,))
    losses = []
    for probs in seen.probs.values():
        real = probs[part.batch.attention]
        live = torch.zeros_like(real).scatter(1, real.topk(TOP_K).indices, 1.0)
        losses.append(EXPERTS * (live.mean(0).detach() / TOP_K * real.mean(0)).sum())
    aux = sum(losses) / len(losses)
    torch.autograd.backward(objective_of(part.batch, logprobs) + COEFFICIENT * aux)
    return aux, gradient(model)


@pytest.mark.parametrize("replays", [False, True])
@pytest.mark.parametrize(("packed", "checkpoints"), [(False, False), (True, False), (False, True), (True, True)])
@given(seed=st.integers(0, 10_000), ranks=st.integers(1, 4), budget=st.integers(12, 80))
@settings(max_examples=8, deadline=None)
def test_the_gradient_is_that_of_one_big_batch(packed: bool, checkpoints: bool, replays: bool, seed: int, ranks: int, budget: int) -> None:
    groups = [toy_group(seed + i, failing=0.1) for i in range(4)]
    summaries = [GroupSummary.of(group) for group in groups]
    divided, whole = (
        plan_step(summaries, PRESETS["grpo"], updates=1, ranks=r, micro_batch_tokens=b, response_tokens=6).updates[0]
        for r, b in ((ranks, budget), (1, 10_000))
    )
    cut = [rows for rank in divided.micro_batches for rows in rank]
    assume(len(cut) > 1)
    model = ToyMixture(packed=packed, checkpoints=checkpoints)
    balanced, ours = learn(model, [part_of(rows, groups, replays) for rows in ((), *cut)])
    aux, theirs = in_one_batch(ToyMixture(), part_of(whole.rows, groups, replays))
    assert balanced.value.item() == pytest.approx(aux.item(), abs=1e-12)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-12, rtol=0)


def one_part(replays: bool = False) -> Part:
    groups = [toy_group(3), toy_group(4)]
    plan = plan_step(
        [GroupSummary.of(g) for g in groups], PRESETS["grpo"], updates=1, ranks=1, micro_batch_tokens=10_000, response_tokens=6
    )
    return part_of(plan.updates[0].rows, groups, replays)


def test_it_is_1_where_all_experts_are_alike_and_more_where_one_draws_all() -> None:
    model = ToyMixture()
    with torch.no_grad():
        for router in model.routers:
            router.weight.zero_()
    even = balance(model, [one_part()], 1.0).value.item()  # type: ignore[arg-type]
    with torch.no_grad():
        model.embedding.weight.abs_().add_(1)
        model.place.weight.abs_()
        for router in model.routers:
            router.weight[0] = 50.0
    assert even == pytest.approx(1.0)
    assert balance(model, [one_part()], 1.0).value.item() > 2  # type: ignore[arg-type]


def test_it_moves_the_router_by_live_choices_while_others_are_replayed() -> None:
    model, part = ToyMixture(), one_part(replays=True)
    seen = Probabilities()
    model(part.batch, part.replay, (seen,))
    assert not torch.equal(seen.taken[1].sort().values, seen.probs[1].topk(TOP_K).indices.sort().values)
    aux, _ = in_one_batch(model, part)
    assert balance(model, [part], 1.0).value.item() == pytest.approx(aux.item(), abs=1e-12)  # type: ignore[arg-type]
