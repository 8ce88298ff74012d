"""The share of the published tensors that is this rank's own: the shares of all ranks together are every number once.

ZeRO-3             the parameter's shard on this rank
experts            those that this rank holds, divided among the ranks that hold the same ones
all others         an equal part of what every rank holds whole
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from learner.model.zero import ZeroEngine, plain
from learner.weights.whole_experts import Published
from rollout.delta.patch import Where


class NotDivided(RuntimeError):
    """A parameter's shards on the ranks are not its equal parts, so no rank can say what of it is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Consecutive numbers of one part of a published tensor."""

    where: Where
    part: Tensor  # the parameter or buffer
    dtype: torch.dtype  # in which it is published
    first: int
    count: int

    def numbers(self) -> Tensor:
        """The numbers now [count], in the dtype of the publish; a view where the rank computes in it."""
        held = getattr(self.part, "ds_tensor", self.part).detach().view(-1)
        return held[self.first : self.first + self.count].to(self.dtype)


def own_shares(tensors: list[Published], zero: ZeroEngine, dtype: torch.dtype) -> Iterator[Share]:
    """This rank's shares of the published tensors, in the manifest's order."""
    rank, world, spread = dist.get_rank(), zero.world, zero.learner.expert_parallel
    for entry, tensor in enumerate(tensors):
        for number, part in enumerate(tensor.parts):
            where = _blocks(entry, tensor, number, part)
            if hasattr(part, "ds_tensor"):
                first, start, count = _shard(tensor.name, part, tensor.group)
            else:
                copy, copies = (rank // spread, world // spread) if tensor.group is not None else (rank, world)
                first, count = _equal_part(part.numel(), copy, copies)
                start = first
            if count > 0:
                where = Where(entry=entry, start=start, base=where.base, block=where.block, stride=where.stride)
                yield Share(where=where, part=part, dtype=tensor.dtype or dtype, first=first, count=count)


def _blocks(entry: int, tensor: Published, number: int, part: Any) -> Where:
    """Where the numbers of a part lie: side by side, or each expert's beside those of the other leaves."""
    if tensor.group is None:
        return Where(entry=entry)
    block = prod(getattr(part, "ds_shape", part.shape)[1:])
    stride = block * len(tensor.parts)
    mine = prod(tensor.shape) // dist.get_world_size(tensor.group)
    return Where(entry=entry, base=dist.get_rank(tensor.group) * mine + number * block, block=block, stride=stride)


def _shard(name: str, part: Any, group: dist.ProcessGroup | None) -> tuple[int, int, int]:
    """Of a parameter under ZeRO-3: the first number of the shard that counts, its place in the parameter, and how many count."""
    if not plain(part):
        raise NotDivided(
            f"{name} has second, quantized or offloaded shards, and no rank can say what changed in them: set rollout.full_every = 1, or "
            "leave them out of [learner.deepspeed]"
        )
    if group is None and dist.get_process_group_ranks(part.ds_process_group)[0] != 0:
        return 0, 0, 0  # the ranks of another group have the same shards
    size = part.ds_tensor.numel()
    start = part.ds_zero_partition_rank * size
    return 0, start, min(size, part.ds_numel - start)


def _equal_part(numbers: int, copy: int, copies: int) -> tuple[int, int]:
    size = -(-numbers // copies)
    first = copy * size
    return first, min(size, numbers - first)
