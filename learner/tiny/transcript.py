"""Transcripts that a warm-up learns from: loss falls on what the model itself says, and on nothing else."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

IGNORED = -100

Transcript = tuple[str, ...]  # the prompt, then in turns what the model says and what it is answered; the model has the last word


def encode(transcripts: Sequence[Transcript], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, Tensor]:
    """Token ids [R, S] padded on the right, and labels [R, S] for what the model says and the eos of each turn only."""
    eos = tokenizer.eos_token_id
    spelled = cache(tokenizer.encode)  # the same few words come up in thousands of transcripts
    ids, labels = [], []
    for transcript in transcripts:
        row: list[int] = []
        learned: list[int] = []
        for place, text in enumerate(transcript):
            own = place % 2 == 1
            piece = [*spelled(text), eos] if own else spelled(text)
            row += piece
            learned += piece if own else [IGNORED] * len(piece)
        ids.append(row)
        labels.append(learned)
    longest = max(map(len, ids))
    return pad_right(ids, longest, tokenizer.pad_token_id), pad_right(labels, longest, IGNORED)


def pad_right(rows: list[list[int]], width: int, value: int) -> Tensor:
    """The rows as one tensor [R, width], filled up with `value`."""
    return torch.tensor([row + [value] * (width - len(row)) for row in rows])
