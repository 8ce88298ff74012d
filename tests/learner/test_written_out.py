"""The composed loss of an update equals the loss that the papers write, in value and in gradient."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from configs.presets import PRESETS, Kl, Objective
from learner.batch.plan import plan_step
from learner.batch.row import MicroBatch
from learner.loss.objective import LossInputs, policy_loss
from learner.loss.written_out import Samples, dapo, grpo, gspo
from tests.toys.run import toy_summary

PROMPT, MEMBERS, LONGEST = 3, 4, 7  # tokens of a toy's prompt, responses of a group, most tokens of a response
BETA = 0.04


class Case(NamedTuple):
    """A paper's loss, its composition, and the distance between the policies: a sequence ratio's clip range is much narrower."""

    paper: Callable[[Sequence[Samples]], Tensor]
    composed: Objective
    apart: float = 0.5


CASES = {
    "grpo": Case(grpo, Objective(preset=PRESETS["grpo"])),
    "grpo with KL": Case(partial(grpo, beta=BETA), Objective(preset=PRESETS["grpo"], kl=Kl(coefficient=BETA, estimator="k3"))),
    "dapo": Case(dapo, Objective(preset=PRESETS["dapo"])),
    "dapo_prompt": Case(partial(dapo, per_prompt=True), Objective(preset=PRESETS["dapo_prompt"])),
    "gspo": Case(gspo, Objective(preset=PRESETS["gspo"]), apart=1e-3),
    "gspo_token": Case(gspo, Objective(preset=PRESETS["gspo_token"]), apart=1e-3),
}


def random_update(seed: int, prompts: int, apart: float) -> list[Samples]:
    """Groups of responses of uneven length, with rewards of 0, 0.5 and 1; sometimes all rewards of a group are equal."""
    rng = torch.Generator().manual_seed(seed)
    double = torch.float64

    def group() -> Samples:
        lengths = torch.randint(1, LONGEST + 1, (MEMBERS,), generator=rng).tolist()
        new = [-3 * torch.rand(n, generator=rng, dtype=double) for n in lengths]
        old, reference = ([x + size * torch.randn(len(x), generator=rng, dtype=double) for x in new] for size in (apart, 0.3))
        rewards = torch.randint(0, 3, (MEMBERS,), generator=rng).to(double) / 2
        return Samples(new=[x.requires_grad_() for x in new], old=old, reference=reference, rewards=rewards)

    return [group() for _ in range(prompts)]


def composed_loss(objective: Objective, update: Sequence[Samples], rows: MicroBatch) -> Tensor:
    """The loss of one micro-batch, from the plan's advantages and weights."""
    new, old, reference = (
        pad_sequence([getattr(update[row.group], name)[row.member] for row in rows], batch_first=True)
        for name in ("new", "old", "reference")
    )
    lengths = torch.tensor([row.tokens - row.prompt_tokens for row in rows])
    mask = torch.arange(new.shape[1]) < lengths[:, None]
    inputs = LossInputs(
        old_logprobs=old,
        reference_logprobs=reference,
        advantages=torch.tensor([row.advantage for row in rows], dtype=torch.float64),
        mask=mask,
        token_weight=torch.tensor([row.weight for row in rows], dtype=torch.float64)[:, None].expand(mask.shape),
    )
    return policy_loss(objective, new, inputs)[0]


@pytest.mark.parametrize("name", CASES)
@given(seed=st.integers(0, 10_000), prompts=st.integers(1, 5), ranks=st.integers(1, 3), budget=st.integers(PROMPT + LONGEST, 60))
@settings(max_examples=25, deadline=None)
def test_the_composed_loss_is_the_papers_loss(name: str, seed: int, prompts: int, ranks: int, budget: int) -> None:
    paper, objective, apart = CASES[name]
    update = random_update(seed, prompts, apart)
    plan = plan_step(
        [toy_summary(place, group.rewards.tolist(), lengths=[len(x) for x in group.new]) for place, group in enumerate(update)],
        objective.preset,
        updates=1,
        ranks=ranks,
        micro_batch_tokens=budget,
        response_tokens=LONGEST,
    )
    parts = [rows for rank in plan.updates[0].micro_batches for rows in rank if rows]
    ours, theirs = sum(composed_loss(objective, update, rows) for rows in parts), paper(update)
    leaves = [response for group in update for response in group.new]
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)
    for mine, other in zip(torch.autograd.grad(ours, leaves), torch.autograd.grad(theirs, leaves), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"grpo with KL"}))
def test_random_updates_reach_clipped_and_unclipped_tokens(name: str) -> None:
    update = random_update(1, 5, CASES[name].apart)
    leaves = [response for group in update for response in group.new]
    gradient = torch.cat(torch.autograd.grad(CASES[name].paper(update), leaves))
    assert 0.05 < float((gradient == 0).double().mean()) < 0.95
