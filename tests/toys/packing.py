"""Batches of given lengths, and a policy's log-probs and gradients on them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from learner.batch.recorded import Recording
from learner.batch.row import Row
from learner.batch.tensors import Batch
from learner.model.policy import Policy
from rollout.types import Finish, Group, Prompt, Response, Verdict
from tests.toys.batches import whole_batch

VOCABULARY = 32
Lengths = Sequence[tuple[int, int]]  # of prompt and response


def groups_of(lengths: Lengths, seed: int = 0, *, alike: bool = False) -> list[Group]:
    """Groups of one response of random tokens each; with `alike`, prompts of one length have the same tokens."""
    rng = np.random.default_rng(seed)

    def tokens(count: int) -> np.ndarray:
        return rng.integers(4, VOCABULARY, count).astype(np.int32)

    def prompt_of(count: int) -> np.ndarray:
        return np.random.default_rng(count).integers(4, VOCABULARY, count).astype(np.int32) if alike else tokens(count)

    return [
        Group(
            group_id=g,
            prompt=Prompt(prompt_id=str(g), token_ids=prompt_of(prompt), reference="", checker="exact"),
            responses=(
                Response(
                    token_ids=tokens(answer),
                    logprobs=-rng.exponential(3.0, answer).astype(np.float32),
                    finish=Finish.STOP,
                    oldest_version=0,
                    newest_version=0,
                    text="",
                ),
            ),
            verdicts=(Verdict(reward=0.0),),
        )
        for g, (prompt, answer) in enumerate(lengths)
    ]


def rows_of(lengths: Lengths) -> list[Row]:
    """The responses as rows of a plan; all tokens have the same weight, in sum 1."""
    weight = 1 / max(1, sum(answer for _, answer in lengths))
    return [Row(group=g, member=0, advantage=1.0, weight=weight, prompt_tokens=p, tokens=p + r) for g, (p, r) in enumerate(lengths)]


def batch_of(lengths: Lengths, seed: int = 0, *, alike: bool = False) -> Batch:
    """One batch of all; without lengths it is the batch of an idle rank. With `alike`, prompts of one length are the same."""
    return whole_batch(rows_of(lengths), groups_of(lengths, seed, alike=alike), 0)


def other_experts(batch: Batch, layers: int, experts: int, top_k: int) -> Recording:
    """Experts drawn at random for every real token."""
    torch.manual_seed(5)
    drawn = torch.rand(*batch.attention.shape, layers, experts).topk(top_k).indices
    return Recording(experts=drawn.to(torch.uint8), known=batch.attention)


def learn(policy: Policy, batch: Batch, replay: Recording | None = None) -> tuple[Tensor, Tensor]:
    """Log-probs on the mask, and the accumulated gradient of a loss with uneven weights."""
    logprobs, _ = policy(batch, replay)
    assert batch.engine_logprobs is not None
    loss = (logprobs * batch.token_weight * batch.engine_logprobs.sin()).sum()
    torch.autograd.backward(loss)
    return torch.where(batch.mask, logprobs, 0).detach(), gradient(policy)


def gradient(policy: Policy) -> Tensor:
    """The whole gradient as one vector."""
    return torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
