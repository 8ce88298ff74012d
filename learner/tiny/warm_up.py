"""Supervised steps until the tiny model is right often enough for reinforcement learning, but not always."""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3MoeForCausalLM

from learner.tiny.rows import Row
from learner.tiny.transcript import IGNORED, Transcript, encode

BATCH = 128
PROBE_ROWS = 256
LEARNING_RATE = 1e-3
PROBE_EVERY = 10
SAID_EVERY = 50
ENOUGH = 0.33  # warming up ends when a sampled answer is right with this probability
MOST_STEPS = 400
IMITATED = 12_000  # transcripts
IMITATION_BATCH = 64
IMITATION_RATE = 2e-3

Progress = Callable[[str], object]


class WarmUp(Protocol):
    """Trains a random model on `train`, reports on it, and gives what `made.json` says about it."""

    def __call__(
        self,
        model: Qwen3MoeForCausalLM,
        tokenizer: PreTrainedTokenizerFast,
        train: Sequence[Row],
        held_out: Sequence[Row],
        *,
        most_steps: int | None,
        progress: Progress,
    ) -> dict[str, float]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How often answers are right: the likeliest one, and one sampled at temperature 1 (in expectation)."""

    greedy: float
    sampled: float


def encode_rows(rows: Sequence[Row], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Token ids [R, S] padded on the right, and labels [R, S] for answers and their eos only."""
    return encode([(row["prompt"], row["answer"]) for row in rows], tokenizer)


@torch.no_grad()
def measure(model: Qwen3MoeForCausalLM, ids: Tensor, labels: Tensor) -> Accuracy:
    """Both accuracies from one forward pass: an answer is right if every token is, given the tokens before it."""
    logprobs = model(input_ids=ids[:, :-1]).logits.log_softmax(-1)  # [R, S-1, V]
    targets = labels[:, 1:]
    asked = targets != IGNORED
    chosen = logprobs.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    greedy = ((logprobs.argmax(-1) == targets) | ~asked).all(-1).double().mean()
    sampled = (chosen * asked).sum(-1).exp().double().mean()
    return Accuracy(greedy=float(greedy), sampled=float(sampled))


def until_often_right(
    model: Qwen3MoeForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    train: Sequence[Row],
    held_out: Sequence[Row],
    *,
    most_steps: int | None,
    progress: Progress,
) -> dict[str, float]:
    """A warm-up on right answers, which ends early enough to leave something to learn."""
    steps = warm_up(model, tokenizer, train, most_steps=most_steps or MOST_STEPS, progress=progress)
    reached = measure(model, *encode_rows(held_out, tokenizer))
    progress(f"held-out answers right {reached.greedy:.2f} greedy, {reached.sampled:.2f} sampled")
    return {"steps": steps, "greedy": reached.greedy, "sampled": reached.sampled}


def warm_up(
    model: Qwen3MoeForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: Sequence[Row],
    *,
    most_steps: int,
    progress: Progress,
) -> int:
    """Learn the answers of `rows` until a sampled one is right often enough, and return the steps taken.

    The last rows are not for learning: they probe the model, so that it never sees the held-out rows.
    """
    ids, labels = encode_rows(rows[:-PROBE_ROWS], tokenizer)
    probe = encode_rows(rows[-PROBE_ROWS:], tokenizer)
    for step, loss in enumerate(learn(model, ids, labels, steps=most_steps, batch=BATCH, rate=LEARNING_RATE), start=1):
        if step % PROBE_EVERY == 0:
            now = measure(model, *probe)
            if step % SAID_EVERY == 0 or now.sampled >= ENOUGH:
                progress(f"warm-up step {step}: loss {loss:.3f}, sampled answers right {now.sampled:.2f}")
            if now.sampled >= ENOUGH:
                return step
    return most_steps


def imitate(
    model: Qwen3MoeForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    train: Sequence[Row],
    held_out: Sequence[Row],
    *,
    most_steps: int | None,
    progress: Progress,
    attempts: Callable[[Sequence[Row], int, random.Random], list[Transcript]],
    steps: int,
) -> dict[str, float]:
    """A warm-up of `steps` steps on what an unskilled player does with the rows; the held-out rows are not looked at."""
    shown = attempts(train, IMITATED, random.Random(torch.initial_seed()))
    ids, labels = encode(shown, tokenizer)
    taken, loss = min(steps, most_steps or steps), float("nan")
    for step, loss in enumerate(learn(model, ids, labels, steps=taken, batch=IMITATION_BATCH, rate=IMITATION_RATE), start=1):
        if step % SAID_EVERY == 0:
            progress(f"warm-up step {step}: loss {loss:.3f}")
    return {"steps": taken, "loss": loss}


def learn(model: Qwen3MoeForCausalLM, ids: Tensor, labels: Tensor, *, steps: int, batch: int, rate: float) -> Iterator[float]:
    """Supervised steps on shuffled rows; gives the loss after each."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0, fused=True)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(ids))
        picked, order = order[:batch], order[batch:]
        logits = model(input_ids=ids[picked, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), labels[picked, 1:].flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield loss.item()
