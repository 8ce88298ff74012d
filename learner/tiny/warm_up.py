"""Supervised steps until the tiny model is right often enough for reinforcement learning, but not always."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast, Qwen3MoeForCausalLM

from learner.tiny.arithmetic import Row

IGNORED = -100
BATCH = 128
PROBE_ROWS = 256
LEARNING_RATE = 1e-3
PROBE_EVERY = 10
ENOUGH = 0.33  # warming up ends when a sampled answer is right with this probability


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """How often answers are right: the likeliest one, and one sampled at temperature 1 (in expectation)."""

    greedy: float
    sampled: float


def encode_rows(rows: list[Row], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Token ids [R, S] padded on the right, and labels [R, S] for answers and their eos only."""
    ids, labels = [], []
    for row in rows:
        prompt = tokenizer.encode(row["prompt"])
        answer = [*tokenizer.encode(row["answer"]), tokenizer.eos_token_id]
        ids.append(prompt + answer)
        labels.append([IGNORED] * len(prompt) + answer)
    longest = max(map(len, ids))
    return pad_right(ids, longest, tokenizer.pad_token_id), pad_right(labels, longest, IGNORED)


def pad_right(rows: list[list[int]], width: int, value: int) -> Tensor:
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])


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


def warm_up(
    model: Qwen3MoeForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    rows: list[Row],
    *,
    most_steps: int,
    progress: Callable[[str], object],
) -> int:
    """Learn the answers of `rows` until a sampled one is right often enough, and return the steps taken.

    The last rows are not for learning: they probe the model, so that it never sees the held-out rows.
    """
    ids, labels = encode_rows(rows[:-PROBE_ROWS], tokenizer)
    probe = encode_rows(rows[-PROBE_ROWS:], tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    order = torch.empty(0, dtype=torch.long)
    for step in range(1, most_steps + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(ids))
        picked, order = order[:BATCH], order[BATCH:]
        logits = model(input_ids=ids[picked, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), labels[picked, 1:].flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % PROBE_EVERY == 0:
            now = measure(model, *probe)
            if step % 50 == 0 or now.sampled >= ENOUGH:
                progress(f"warm-up step {step}: loss {loss.item():.3f}, sampled answers right {now.sampled:.2f}")
            if now.sampled >= ENOUGH:
                return step
    return most_steps
