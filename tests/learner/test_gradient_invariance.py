"""The gradient of an update is that of one big batch, for any division into ranks and micro-batches."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from configs.presets import CORRECTIONS, PRESETS, Kl, Objective
from learner.batch.plan import plan_step
from learner.batch.row import MicroBatch
from learner.batch.tensors import Batch
from learner.model.logprobs import token_logprobs
from rollout.types import Group, GroupSummary
from tests.toys.batches import whole_batch
from tests.toys.holes import with_episodes
from tests.toys.learner import VOCABULARY, toy_group
from tests.toys.one_batch import batch_loss


class ToyPolicy(nn.Module):
    """Predicts a token from the running mean of all before it, so padding that leaked in would change the result."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(VOCABULARY, 8, dtype=torch.float64)
        self.place = nn.Embedding(32, 8, dtype=torch.float64)
        self.head = nn.Linear(8, VOCABULARY, dtype=torch.float64)

    def forward(self, batch: Batch) -> Tensor:
        seen = (self.embedding(batch.token_ids) + self.place(batch.position_ids)) * batch.attention[..., None]
        means = seen.cumsum(1) / batch.attention.cumsum(1).clamp(min=1)[..., None]
        logits: Tensor = self.head(means.tanh())
        return logits[:, batch.prompt_width - 1 : -1]  # the token before a response predicts its first


def learn(
    policy: ToyPolicy, objective: Objective, micro_batches: Iterable[MicroBatch], groups: list[Group], near: float
) -> tuple[float, list[Tensor]]:
    """The summed loss of micro-batches and the gradient that they accumulate."""
    policy.zero_grad()
    total = 0.0
    for rows in micro_batches:
        batch = whole_batch(rows, groups, 0)
        logprobs, _ = token_logprobs(policy(batch), batch.token_ids[:, batch.prompt_width :], temperature=1.0)
        assert batch.engine_logprobs is not None
        # The distances to the other policies follow from a token's log-prob: on both sides of every bound, and equal in any division.
        seen = batch.engine_logprobs.double()
        old = logprobs.detach() + near * seen.sin()
        distant = replace(batch, engine_logprobs=old + 0.4 * seen.cos())
        loss = batch_loss(objective, logprobs, distant, old=old, reference=logprobs.detach() + 0.3 * (2 * seen).sin())
        torch.autograd.backward(loss)
        total += loss.item()
    assert all(p.grad is not None for p in policy.parameters()), "an empty micro-batch must reach every parameter too"
    return total, [p.grad.clone() for p in policy.parameters() if p.grad is not None]


OBJECTIVES = {name: Objective(preset=preset) for name, preset in PRESETS.items()}
OBJECTIVES |= {f"grpo+{name}": Objective(preset=PRESETS["grpo"], correction=row) for name, row in CORRECTIONS.items()}
OBJECTIVES |= {
    f"dapo+{name}": Objective(preset=PRESETS["dapo"], kl=Kl(coefficient=0.3, estimator=name)) for name in ("k2", "k3", "ratio_k3")
}


@pytest.mark.parametrize("name", OBJECTIVES)
@given(seed=st.integers(0, 10_000), ranks=st.integers(1, 4), budget=st.integers(12, 80), episodes=st.booleans())
@settings(max_examples=10, deadline=None)
def test_the_gradient_of_an_update_is_that_of_one_big_batch(name: str, seed: int, ranks: int, budget: int, episodes: bool) -> None:
    objective = OBJECTIVES[name]
    near = 1e-3 if objective.preset.ratio == "sequence" else 0.5
    groups = [toy_group(seed + i, failing=0.1) for i in range(4)]
    if episodes:
        groups = [with_episodes(group, seed) for group in groups]
    summaries = [GroupSummary.of(group) for group in groups]
    divided, whole = (
        plan_step(summaries, objective.preset, updates=1, ranks=r, micro_batch_tokens=b, response_tokens=6).updates[0]
        for r, b in ((ranks, budget), (1, 10_000))
    )
    policy = ToyPolicy()
    parts = [rows for rank in divided.micro_batches for rows in rank]
    assume(len(parts) > 1)
    loss, gradient = learn(policy, objective, [(), *parts], groups, near)
    expected_loss, expected = learn(policy, objective, [whole.rows], groups, near)
    assert loss == pytest.approx(expected_loss, abs=1e-10)
    for ours, theirs in zip(gradient, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-10, rtol=0)
