"""Small mixtures of experts as the learner has them, and recordings of their tokens' experts."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3MoeForCausalLM

from learner.batch.recorded import Recording
from learner.batch.row import Row
from learner.batch.tensors import Batch
from learner.experts.routers import attach, expert_shape
from learner.model.policy import Policy
from rollout.types import Finish, Group, Prompt, Response, Verdict
from tests.toys.batches import whole_batch
from tests.toys.model import tiny_config


def moe_policy(*, precise: bool = True, checkpointing: bool = False, **changes: Any) -> Policy:
    """A random policy of the tiny model with some of its settings changed, with its routers attached as after DeepSpeed has wrapped it."""
    torch.manual_seed(0)
    settings = tiny_config()
    for name, value in changes.items():
        setattr(settings, name, value)
    policy = Policy(Qwen3MoeForCausalLM(settings), 1.0, 1)
    if checkpointing:
        policy.language_model.gradient_checkpointing_enable({"use_reentrant": False, "context_fn": policy.routing.again})
    attach(policy, policy.routing, precise=precise)
    return policy.train()


def moe_group(lengths: list[int], prompt: int = 3, experts: dict[int, Any] | None = None) -> Group:
    """A group of random responses of these lengths; `experts` has the engine's recordings, by place."""
    rng = np.random.default_rng(sum(lengths))
    responses = tuple(
        Response(
            token_ids=rng.integers(4, 32, length).astype(np.int32),
            logprobs=-rng.exponential(2.0, length).astype(np.float32),
            finish=Finish.STOP,
            oldest_version=0,
            newest_version=0,
            text="",
            routed_experts=(experts or {}).get(i),
        )
        for i, length in enumerate(lengths)
    )
    return Group(
        group_id=0,
        prompt=Prompt(prompt_id="0", token_ids=rng.integers(4, 32, prompt).astype(np.int32), reference=None, checker="toy"),
        responses=responses,
        verdicts=tuple(Verdict(reward=1.0) for _ in responses),
    )


def moe_batch(group: Group, policy: Policy | None = None) -> Batch:
    """All responses of a group as one micro-batch, with the engine's experts if a policy gives their shape."""
    prompt = len(group.prompt.token_ids)
    rows = [
        Row(group=0, member=i, advantage=float(1 - 2 * (i % 2)), weight=0.1, prompt_tokens=prompt, tokens=prompt + len(response))
        for i, response in enumerate(group.responses)
    ]
    return whole_batch(rows, [group], 0, captured=None if policy is None else expert_shape(policy.language_model))


def permuted(recording: Recording, experts: int) -> Recording:
    """Every token's experts shifted by one: valid, and for every token at least one is another."""
    return Recording(experts=((recording.experts.long() + 1) % experts).to(recording.experts.dtype), known=recording.known)


def learn(policy: Policy, batch: Batch, replay: Recording | None = None, *watchers: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probs of a pass, and the gradient of their weighted sum by parameter."""
    policy.zero_grad()
    logprobs, _ = policy(batch, replay, watchers)
    torch.autograd.backward((logprobs * batch.advantages[:, None] * batch.mask).sum())
    return logprobs.detach(), {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}
