"""Where the numbers of a rank's parameter stand in a whole tensor of the model.

A checkpoint names whole tensors, so that it does not depend on who wrote it. Only experts that are spread over ranks differ from them:

    this rank's w1 [E/n, I, H]  ──►  rows 0 … I of experts k E/n … of gate_up_proj [E, 2I, H]
    this rank's w3 [E/n, I, H]  ──►  rows I … 2I of the same
    this rank's w2 [E/n, H, I]  ──►  experts k E/n … of down_proj [E, H, I]
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch.distributed as dist

from learner.model.zero import ZeroEngine
from learner.weights.source import PREFIX
from learner.weights.whole_experts import RENAMED, SPREAD


class Range(NamedTuple):
    """`length` numbers of a whole tensor from the flat place `start`; the first is the number `at` of what was asked for."""

    name: str
    start: int
    length: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The whole tensor of a parameter, whose blocks stand `stride` numbers apart in it; one block where the parameter is whole."""

    name: str
    total: int  # numbers of the whole tensor
    first: int = 0  # of the parameter's first number
    block: int  # numbers of the parameter that stand together
    stride: int

    def ranges(self, start: int, count: int) -> Iterator[Range]:
        """Where `count` of the parameter's flat numbers from `start` stand."""
        done = 0
        while done < count:
            block, within = divmod(start + done, self.block)
            together = min(count - done, self.block - within)
            yield Range(self.name, self.first + block * self.stride + within, together, done)
            done += together


def places(zero: ZeroEngine) -> dict[str, Place]:
    """The place of every parameter that this rank's model has, by the parameter's name."""
    found: dict[str, Place] = {}
    there = {name for name, _ in zero.module.named_parameters()}
    share = dist.get_rank(zero.expert_group) if zero.expert_group is not None else 0
    for name, shape in zero.shapes.items():
        called, total = name.removeprefix(PREFIX), math.prod(shape)
        if here := next((other for other in names_of(name) if other in there), None):
            found[here] = Place(name=called, total=total, block=max(total, 1), stride=total)
            continue
        leaves = next((leaves for fused, leaves in SPREAD.items() if name.endswith(fused)), ())
        fused = next((fused for fused in SPREAD if name.endswith(fused)), "")
        an_expert = total // shape[0]
        first = share * (shape[0] // zero.learner.expert_parallel) * an_expert
        block = an_expert // max(len(leaves), 1)
        for number, leaf in enumerate(leaves):
            found[name.removesuffix(fused) + leaf] = Place(
                name=called, total=total, first=first + number * block, block=block, stride=an_expert
            )
    if unknown := sorted(there - set(found)):
        raise KeyError(f"{unknown[0]} is a parameter of this rank, but belongs to no tensor of the model")
    return found


def names_of(name: str) -> Iterator[str]:
    """The names that a tensor of the model may have on this rank while it is whole."""
    yield name
    for ours, theirs in RENAMED.items():
        if ours in name:
            yield name.replace(ours, theirs)
