"""What a run must know of its data: fields, lengths in tokens, and a held-out file beside it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.commands.init.rows import Fields, Told, ends_in_answer, find_fields
from configs.home import expanded
from rollout.data.fields import EVERYTHING, find
from rollout.data.places import looks_local
from rollout.data.read import raw_rows
from rollout.data.row import DatasetError, RawRow
from rollout.transcript.messages import Message

LOOKED_AT = 4000  # rows, spread evenly over the dataset
HELD_OUT_NAMES = ("eval", "test", "validation", "valid", "val", "dev", "held_out")
OUTLIERS = 99.5  # percentile of prompt lengths that the limit keeps where the longest prompts are much longer
MUCH_LONGER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """A dataset as it was seen."""

    source: str
    split: str
    rows: int
    fields: Fields
    messages: bool  # a prompt is a list of messages
    ends_in_answers: bool  # some messages end in the assistant's turn
    own_system: bool  # some prompts have a system turn
    lengths: NDArray[np.int64]  # prompts in tokens, of the rows that were looked at
    longest_reference: int  # in tokens, as text
    boxed: bool  # the prompts themselves say how to mark the answer

    @property
    def longest(self) -> int:
        """The longest prompt in tokens."""
        return int(self.lengths.max())

    @property
    def kept(self) -> int:
        """Tokens of the longest prompt that is worth its room: a few much longer ones are dropped."""
        most = int(np.percentile(self.lengths, OUTLIERS))
        return most if self.longest > MUCH_LONGER * most else self.longest

    def share_above(self, tokens: int) -> float:
        """Share of the prompts that have more tokens."""
        return float((self.lengths > tokens).mean())


def look_at(source: str, split: str, tokenizer: Any, told: Told) -> Data:
    """Read a dataset and guess what a run must know; ValueError where its fields cannot be guessed."""
    rows, count = spread(raw_rows(source, split, (), (EVERYTHING,)))
    if not rows:
        raise DatasetError(f"{source} has no rows: needs at least one")
    fields = find_fields(rows, source, told)
    prompts = [find(row.values, fields.prompt) for row in rows]
    references = [find(row.values, fields.reference) for row in rows]
    lengths = np.array([count_tokens(prompt, tokenizer) for prompt in prompts])
    return Data(
        source=source,
        split=split,
        rows=count,
        fields=fields,
        messages=any(isinstance(prompt, list) for prompt in prompts),
        ends_in_answers=any(map(ends_in_answer, prompts)),
        own_system=any(isinstance(prompt, list) and prompt[0]["role"] == "system" for prompt in prompts),
        lengths=lengths,
        longest_reference=max(len(tokenizer.encode(str(reference))) for reference in references),
        boxed=all("boxed" in str(prompt) for prompt in prompts),
    )


def spread(rows: Iterable[RawRow]) -> tuple[list[RawRow], int]:
    """Some rows, spread evenly over all of them, and how many there are in all; few are in memory at once."""
    kept: list[RawRow] = []
    every, count = 1, 0
    for row in rows:
        if count % every == 0:
            kept.append(row)
        count += 1
        if len(kept) > 2 * LOOKED_AT:
            kept, every = kept[::2], 2 * every
    return kept, count


def count_tokens(prompt: str | list[Message], tokenizer: Any) -> int:
    """Tokens of a prompt, with the chat template if the model has one."""
    if not tokenizer.chat_template:
        return len(tokenizer.encode(prompt if isinstance(prompt, str) else str(prompt)))
    messages = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    while messages[-1]["role"] == "assistant" and len(messages) > 1:  # the run cuts an answer off too
        messages = messages[:-1]
    ids: list[int] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return len(ids)


def held_out_beside(source: str) -> str | None:
    """A file of held-out rows in the same folder: `test.jsonl` beside `train.jsonl`, `sums_eval.csv` beside `sums_train.csv`."""
    if not looks_local(source):
        return None
    path = expanded(source)
    if not path.is_file():
        return None
    stem = path.name.partition(".")[0]
    if "train" not in stem:
        return None
    beside = (path.with_name(path.name.replace("train", name, 1)) for name in HELD_OUT_NAMES)
    return next((str(found) for found in beside if found.is_file()), None)
