"""The laboratory's replacement of a vLLM engine: a Hugging Face copy of the policy, sampled on one thread with a cache."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rollout.seeds import derive_seed

NOISE = 103  # the purpose of a seed

Tokens = NDArray[np.int32]


class Diverged(RuntimeError):
    """The weights no longer give probabilities."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One sampled response."""

    token_ids: Tokens  # [T], with the stop token if there is one
    logprobs: NDArray[np.float32]  # [T], at the sampling temperature
    stopped: bool  # False: the token budget ran out


@torch.no_grad()
def sample(
    model: Any, prompts: Sequence[Tokens], size: int, *, most: int, stop: int, temperature: float, random: torch.Generator
) -> list[list[Answer]]:
    """`size` responses of at most `most` tokens to each prompt; temperature 0 takes the most probable tokens.

    The model reads every prompt once and repeats its row of the cache; rows whose response has ended leave the batch.
    """
    count = len(prompts) * size
    tokens, logprobs = torch.zeros(count, most, dtype=torch.long), torch.zeros(count, most)
    lengths, stopped = torch.zeros(count, dtype=torch.long), torch.zeros(count, dtype=torch.bool)
    speaker = Speaker(model, *pad_left(prompts))
    speaker.keep(torch.arange(len(prompts)).repeat_interleave(size))
    alive = torch.arange(count)
    for place in range(most):
        picked, chosen = pick(speaker.logits, temperature, random)
        tokens[alive, place], logprobs[alive, place] = picked, chosen
        lengths[alive] += 1
        stopped[alive] = picked == stop
        going = (picked != stop).nonzero()[:, 0]
        if place + 1 == most or not len(going):
            break
        alive = alive[going]
        speaker.keep(going)
        speaker.read(picked[going])
    rows = zip(tokens.numpy().astype(np.int32), logprobs.numpy(), lengths.tolist(), stopped.tolist(), strict=True)
    answers = [Answer(token_ids=ids[:n].copy(), logprobs=lp[:n].copy(), stopped=ended) for ids, lp, n, ended in rows]
    return [answers[first : first + size] for first in range(0, count, size)]


class Speaker:
    """A batch of texts and the model's logits for the next token of each [B, V]."""

    def __init__(self, model: Any, ids: Tensor, attention: Tensor) -> None:
        from transformers import DynamicCache

        self.model, self.attention = model, attention
        self.cache = DynamicCache()
        self.logits = self._read(ids, (attention.long().cumsum(1) - 1).clamp(min=0))

    def keep(self, rows: Tensor) -> None:
        """Continue with only these rows; a row may occur many times."""
        self.cache.batch_select_indices(rows)
        self.attention, self.logits = self.attention[rows], self.logits[rows]

    def read(self, picked: Tensor) -> None:
        """Append one token to each text [B]."""
        self.attention = torch.cat([self.attention, self.attention.new_ones(len(picked), 1)], 1)
        self.logits = self._read(picked[:, None], self.attention.sum(1, keepdim=True) - 1)

    def _read(self, ids: Tensor, places: Tensor) -> Tensor:
        context = {"attention_mask": self.attention, "position_ids": places, "past_key_values": self.cache}
        logits: Tensor = self.model(input_ids=ids, use_cache=True, logits_to_keep=1, **context).logits
        return logits[:, -1]


def pick(logits: Tensor, temperature: float, random: torch.Generator) -> tuple[Tensor, Tensor]:
    """A token of each row and its log-prob [B]; log-probs in float32 for any type of the model."""
    logprobs = (logits.float() / (temperature or 1.0)).log_softmax(-1)
    if not torch.isfinite(logprobs).all():
        raise Diverged("the model's logits are not finite")
    picked = torch.multinomial(logprobs.exp(), 1, generator=random) if temperature else logprobs.argmax(-1, keepdim=True)
    return picked[:, 0], logprobs.gather(1, picked)[:, 0]


def pad_left(prompts: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
    """Token ids and mask of prompts that all end in the last column, [P, W] each."""
    width = max(map(len, prompts))
    ids, attention = torch.zeros(len(prompts), width, dtype=torch.long), torch.zeros(len(prompts), width, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.from_numpy(prompt.astype(np.int64))
        attention[row, width - len(prompt) :] = True
    return ids, attention


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineLike:
    """The differences of the sampling copy from the learner's policy."""

    dtype: str = "float32"  # of its weights and its arithmetic: "float32" | "bfloat16"
    noise: float = 0.0  # standard deviation of a relative change of its router weights, new at every publish


class StandIn:
    """A copy of the policy instead of an engine, `staleness` versions behind; version 0 is the weights before the first step."""

    def __init__(self, policy: Any, like: EngineLike, staleness: int, seed: int) -> None:
        from transformers import AutoModelForCausalLM

        self.policy, self.like, self.seed = policy, like, seed
        self.model: Any = AutoModelForCausalLM.from_config(policy.config, dtype=getattr(torch, like.dtype)).eval()
        self.kept: deque[tuple[int, dict[str, Tensor]]] = deque(maxlen=staleness + 1)
        self.newest = self.served = -1
        self.publish()

    @torch.no_grad()
    def publish(self) -> None:
        """Store the policy's weights as the next version, and load the version that samples next."""
        self.newest += 1
        self.kept.append((self.newest, {name: value.detach().clone() for name, value in self.policy.state_dict().items()}))
        due, weights = self.kept[0]
        if due == self.served:
            return
        self.model.load_state_dict(weights)
        self.served = due
        if self.like.noise:
            random = torch.Generator().manual_seed(derive_seed(self.seed, due, NOISE))
            for weight in router_weights(self.model):
                weight.mul_(1 + self.like.noise * torch.randn(weight.shape, generator=random))


def router_weights(model: Any) -> list[Tensor]:
    """The router weights; ValueError if the model has none."""
    found = [weight for name, weight in model.named_parameters() if name.endswith("mlp.gate.weight")]
    if not found:
        raise ValueError("the model has no router whose weights could be disturbed: it is no mixture of experts")
    return found
