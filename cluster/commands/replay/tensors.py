"""The micro-batches of a capsule as the tensors that the learner had."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cluster.record.capsules.read import Capsule, CapsuleRow
from configs.presets import Preset
from learner.batch.costs import ratio_base
from learner.batch.fetched import Fetched
from learner.batch.recorded import Recording
from learner.batch.row import Row
from learner.batch.tensors import Batch, build_batch
from learner.loss.objective import LossInputs
from rollout.types import Sampled


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedBatch:
    """A micro-batch of a capsule."""

    rank: int
    update: int
    number: int
    rows: Sequence[CapsuleRow]

    @property
    def where(self) -> str:
        return f"rank {self.rank}, update {self.update + 1}, micro-batch {self.number + 1}"

    def padded(self, name: str) -> Tensor | None:
        """Numbers of each token [B, T], 0 beyond each response; None where the capsule has none."""
        values = [getattr(row, name) for row in self.rows]
        return None if values[0] is None else pad(values)

    def batch(self) -> Batch:
        """The tokens as the learner laid them out; what is learned is as recorded."""
        batch = build_batch([planned(row) for row in self.rows], cast(Fetched, _Rows(self.rows)), 0)
        return replace(batch, mask=pad([row.mask for row in self.rows]), token_weight=pad([row.token_weights for row in self.rows]))

    def inputs(self, preset: Preset) -> LossInputs:
        """The inputs of the loss, from recorded numbers alone."""
        old, engine = pad([row.old_logprobs for row in self.rows]), self.padded("engine_logprobs")
        return LossInputs(
            old_logprobs=ratio_base(preset, old, engine),
            engine_logprobs=engine,
            reference_logprobs=self.padded("reference_logprobs"),
            advantages=pad([row.advantages for row in self.rows]),
            mask=pad([row.mask for row in self.rows]),
            token_weight=pad([row.token_weights for row in self.rows]),
            log_shift=self.padded("log_shift"),
        )

    def recording(self, batch: Batch) -> Recording | None:
        """The experts that the tokens took, laid out as the batch is; None where none were recorded."""
        some = next((row.experts for row in self.rows if row.experts is not None), None)
        if some is None:
            return None
        experts = np.zeros((*batch.attention.shape, *some.shape[1:]), some.dtype)
        known = np.zeros(batch.attention.shape, np.bool_)
        for i, row in enumerate(self.rows):
            if row.experts is not None and row.experts_known is not None:
                real = slice(batch.prompt_width - len(row.prompt_ids), batch.prompt_width + len(row.token_ids))
                experts[i, real], known[i, real] = row.experts, row.experts_known
        return Recording(experts=torch.from_numpy(experts), known=torch.from_numpy(known))


class _Rows:
    """The tokens of a capsule's rows, as a rank has fetched them."""

    def __init__(self, rows: Iterable[CapsuleRow]) -> None:
        self.rows = {(row.position, row.member, row.segment): row for row in rows}

    def prompt(self, row: Row) -> NDArray[np.int32]:
        return self.rows[row.group, row.member, row.segment].prompt_ids

    def response(self, row: Row) -> Sampled:
        found = self.rows[row.group, row.member, row.segment]
        return Sampled(
            token_ids=found.token_ids,
            logprobs=found.engine_logprobs,
            oldest_version=found.oldest_version,
            newest_version=found.newest_version,
            turns=found.spans,
        )

    def has_experts(self, row: Row) -> bool:
        return False


def planned(row: CapsuleRow) -> Row:
    """A row as the plan had it."""
    tokens = len(row.prompt_ids) + len(row.token_ids)
    names: dict[str, Any] = {name: getattr(row, name) for name in ("member", "advantage", "weight", "segment", "first_turn", "by_turn")}
    return Row(group=row.position, prompt_tokens=len(row.prompt_ids), tokens=tokens, **names)


def micro_batches(capsule: Capsule) -> list[LearnedBatch]:
    """The micro-batches of a capsule that have rows, in the order in which each rank learned them."""
    return [
        LearnedBatch(rank=rank, update=update, number=number, rows=tuple(rows))
        for (rank, update, number), rows in groupby(capsule.rows, key=lambda row: (row.rank, row.update, row.micro_batch))
    ]


def pad(values: Sequence[NDArray[Any]]) -> Tensor:
    """Arrays [T] as one tensor [B, T], 0 beyond the end of each."""
    table = np.zeros((len(values), max(map(len, values))), values[0].dtype)
    for i, one in enumerate(values):
        table[i, : len(one)] = one
    return torch.from_numpy(table)
