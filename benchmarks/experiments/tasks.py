"""Arithmetic of mixed difficulty, and a model for it: one third is solved already, one third can be learned, one third is hopeless.

After warm-up the tiny model has no sum that is always right, so it first learns products with 0, which disturb its sums least. Products
of three-digit numbers are new to it, and it finds no right answer to them.
"""

import json
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div

from benchmarks.rounds import ROOT
from learner.tiny.make import repeatable
from learner.tiny.rows import Row, write_rows
from learner.tiny.transcript import IGNORED
from learner.tiny.warm_up import encode_rows

TINY = ROOT / ".cache" / "tiny"
EACH = 128  # prompts of each kind, and held-out ones
MASTERED, LEARNABLE, HOPELESS = 0.98, (0.1, 0.6), 1e-3  # probability that a sampled answer is right
LEARNING_RATE, MOST_STEPS, REPLAYED, HOLD = 3e-4, 100, 256, 2.0


def make_mixed(folder: Path, tiny: Path = TINY, seed: int = 0) -> list[str]:
    """Write model/, train.jsonl and held_out.jsonl unless they exist; the overrides that make a run use them."""
    files = {"model.path": "model", "data.train": "train.jsonl", "data.eval": "held_out.jsonl"}
    if not (folder / "made.json").is_file():
        if not (tiny / "made.json").is_file():
            raise FileNotFoundError(f"{tiny} holds no tiny model: make tiny")
        folder.mkdir(parents=True, exist_ok=True)
        with repeatable(seed):
            made = fill(folder, tiny, random.Random(seed))
        (folder / "made.json").write_text(json.dumps(made) + "\n")
    return [f"{key}={folder / name}" for key, name in files.items()]


def fill(folder: Path, tiny: Path, rng: random.Random) -> dict[str, float]:
    """Train on the trivial rows, choose the other rows by the model's success on them, write everything."""
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    model, before = (AutoModelForCausalLM.from_pretrained(tiny / "model", dtype=torch.float32).eval() for _ in range(2))
    tokenizer = AutoTokenizer.from_pretrained(tiny / "model")
    train, held_out = (read_rows(tiny / name) for name in ("train.jsonl", "eval.jsonl"))
    zeros = [product(a, b) for n in range(10, 100) for a, b in ((n, 0), (0, n))]
    steps = master(model, before, tokenizer, zeros, train)
    low, high = LEARNABLE
    kinds = {
        "trivial": [row for row, chance in judge(model, tokenizer, zeros) if chance >= MASTERED],
        "learnable": [row for row, chance in judge(model, tokenizer, train) if low <= chance <= high],
        "hopeless": [
            row
            for row, chance in judge(
                model, tokenizer, [product(rng.randrange(100, 1000), rng.randrange(100, 1000)) for _ in range(2 * EACH)]
            )
            if chance <= HOPELESS
        ],
    }
    asked = [row for row, chance in judge(model, tokenizer, held_out) if low <= chance <= high]
    rows = [row | {"id": f"{kind} {row['prompt']}"} for kind, found in kinds.items() for row in pick(rng, kind, found)]
    write_rows(folder / "train.jsonl", rows)
    write_rows(folder / "held_out.jsonl", pick(rng, "held-out", asked))
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return {"steps": steps, "each": EACH, "sums": sum(chance for _, chance in judge(model, tokenizer, held_out)) / len(held_out)}


def master(model: Any, before: Any, tokenizer: Any, rows: list[Row], others: list[Row]) -> int:
    """Supervised steps on `rows` until each is answered right; the model's answers to `others` are kept as they were."""
    ids, labels = encode_rows(rows, tokenizer)
    other_ids, other_labels = encode_rows(others, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    for step in range(MOST_STEPS):
        if step % 5 == 0 and bool((chances(model, ids, labels) >= MASTERED).all()):
            return step
        picked = torch.randint(len(other_ids), (REPLAYED,))
        answers = other_labels[picked, 1:] != IGNORED
        with torch.no_grad():
            was = before(input_ids=other_ids[picked, :-1]).logits[answers].log_softmax(-1)
        now = model(input_ids=other_ids[picked, :-1]).logits[answers].log_softmax(-1)
        learned = cross_entropy(model(input_ids=ids[:, :-1]).logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED)
        (learned + HOLD * kl_div(now, was, log_target=True, reduction="batchmean")).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    raise RuntimeError(f"after {MOST_STEPS} steps the model still does not answer all trivial rows")


@torch.no_grad()
def chances(model: Any, ids: Tensor, labels: Tensor) -> Tensor:
    """The probability of each row that a sampled answer is right [R]."""
    logprobs = model(input_ids=ids[:, :-1]).logits.log_softmax(-1)
    targets = labels[:, 1:]
    chosen = logprobs.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return (chosen * (targets != IGNORED)).sum(-1).exp()


def judge(model: Any, tokenizer: Any, rows: list[Row]) -> list[tuple[Row, float]]:
    """Each row with the probability that a sampled answer is right."""
    return list(zip(rows, chances(model, *encode_rows(rows, tokenizer)).tolist(), strict=True))


def pick(rng: random.Random, kind: str, rows: list[Row]) -> list[Row]:
    """`EACH` of the rows."""
    if len(rows) < EACH:
        raise RuntimeError(f"only {len(rows)} {kind} rows were found, {EACH} are needed")
    return rng.sample(rows, EACH)


def product(a: int, b: int) -> Row:
    return {"prompt": f"{a}*{b}=", "answer": str(a * b)}


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]
