"""The tiny model as learner and as engine: responses with a policy's log-probs and experts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Qwen3MoeForCausalLM

from learner.batch.recorded import Recording
from learner.batch.row import Row
from learner.experts.routers import attach, expert_shape
from learner.experts.routing import Recorder
from learner.mismatch.rescoring import Rescoring
from learner.model.policy import Policy
from rollout.types import Finish, Group, Prompt, Response, Verdict
from tests.toys.batches import whole_batch
from tests.toys.model import tiny_config
from tests.toys.run import run_config

Choice = Callable[[Tensor], Tensor]
PROMPT, MEMBERS = 3, 4


class ToyZero:
    """A policy on one rank without DeepSpeed."""

    def __init__(self, policy: Policy) -> None:
        self.module, self.passes = policy, 0

    def __call__(self, *args: Any) -> Any:
        self.passes += 1
        return self.module(*args)

    def drop_gathered(self) -> None:
        """Do nothing: this policy is never gathered."""


def toy_policy(seed: int = 0) -> Policy:
    """The tiny model with weights so large that experts matter to log-probs."""
    torch.manual_seed(seed)
    model = Qwen3MoeForCausalLM(tiny_config())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "mlp" in name:
                parameter.mul_(6)
    policy = Policy(model, 1.0, 1)
    attach(policy, policy.routing, precise=True)
    return policy


def toy_rescoring(policy: Policy, **sections: dict[str, Any]) -> Rescoring:
    """The rescoring of a learner on one rank; by default of all responses."""
    whole: dict[str, dict[str, Any]] = {"rollout": {"capture_routing": True}, "mismatch": {"share": 1.0}, **sections}
    config = run_config(Path("unused"), **whole)
    captured = expert_shape(policy.language_model) if config.rollout.capture_routing else None
    zero: Any = ToyZero(policy)
    return Rescoring(config, zero, captured, torch.device("cpu"))


@torch.no_grad()
def sampled(policy: Policy, seed: int, *, version: int = 0, choose: Choice | None = None) -> Group:
    """A group of random tokens as an engine with this policy's weights returns it; `choose` changes the experts that it takes."""
    rng = np.random.default_rng(seed)
    prompt = Prompt(prompt_id=str(seed), token_ids=rng.integers(4, 32, PROMPT).astype(np.int32), reference="", checker="exact")

    def response(length: int) -> Response:
        bare = Response(
            token_ids=rng.integers(4, 32, length).astype(np.int32),
            logprobs=np.zeros(length, np.float32),
            finish=Finish.STOP,
            oldest_version=version,
            newest_version=version,
            text="",
        )
        group = Group(group_id=seed, prompt=prompt, responses=(bare,), verdicts=(Verdict(reward=1.0),))
        batch, recorder = whole_batch([row_of(0, 0, length)], [group], 0), Recorder(torch.int16)
        policy(batch, None, (recorder,))
        recording = recorder.recording(batch.attention)
        if choose is not None:
            recording = Recording(experts=choose(recording.experts), known=recording.known)
        # The last token was never fed to the engine.
        return replace(
            bare, logprobs=policy(batch, recording)[0][0].numpy(), routed_experts=recording.experts[0, :-1].numpy().astype(np.uint8)
        )

    responses = tuple(response(int(length)) for length in rng.integers(2, 9, MEMBERS))
    return Group(group_id=seed, prompt=prompt, responses=responses, verdicts=(Verdict(reward=1.0),) * MEMBERS)


def with_responses(groups: Sequence[Group], change: Callable[[Response], Response]) -> list[Group]:
    """The groups with every response changed."""
    return [replace(group, responses=tuple(map(change, group.responses))) for group in groups]


def row_of(group: int, member: int, length: int) -> Row:
    return Row(group=group, member=member, advantage=1.0, weight=1.0, prompt_tokens=PROMPT, tokens=PROMPT + length)


def rows_of(groups: Sequence[Group]) -> list[Row]:
    """Every response of the groups."""
    return [row_of(g, m, len(response)) for g, group in enumerate(groups) for m, response in enumerate(group.responses)]


def next_expert(experts: Tensor) -> Tensor:
    """The next expert instead of each: at least one of two of four experts is then another."""
    return (experts + 1) % 4
