"""From a checkpoint's numbers to their places in a served tensor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


class NoPlace(Exception):
    """Numbers of a checkpoint have no places of their own in what is served; the message says which."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A view of a contiguous tensor, by the numbers of elements that torch addresses it with."""

    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def within(self, tensor: Tensor) -> Tensor:
        return tensor.as_strided(self.size, self.stride, tensor.storage_offset() + self.offset)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """A slice of a checkpoint's tensor, and the slice of the served tensor that holds the same numbers."""

    taken: Slice
    put: Slice
    served: Tensor
    whole: int  # numbers of the checkpoint's tensor

    @property
    def numel(self) -> int:
        return torch.Size(self.taken.size).numel()

    def destinations(self, places: Tensor) -> tuple[slice | Tensor, Tensor]:
        """Which of the checkpoint's ascending places lie in the slice, as an index, and where they lie in the flat served tensor [m]."""
        dimensions = _dimensions(self.taken, self.put)
        first, end = self.taken.offset, self.taken.offset + 1 + sum((size - 1) * stride for stride, size, _ in dimensions)
        cut = slice(*torch.searchsorted(places, torch.tensor([first, end], device=places.device)).tolist())
        rest = places[cut] - first
        if len(dimensions) == 1 and dimensions[0][0] == 1:
            return cut, rest * dimensions[0][2] + self.put.offset
        inside = torch.ones_like(rest, dtype=torch.bool)
        there = torch.full_like(rest, self.put.offset)
        for stride, size, step in dimensions:
            coordinate = rest // stride
            rest = rest - coordinate * stride
            inside &= coordinate < size
            there += coordinate * step
        inside &= rest == 0
        found = inside.nonzero().view(-1)
        return found + cut.start, there[found]


def spots(copies: Iterable[tuple[Slice, Slice]], served: Tensor, whole: int, name: str) -> list[Spot]:
    """The spots of one checkpoint's tensor in one served tensor, as few as possible; NoPlace."""
    if not served.is_contiguous():
        raise NoPlace(f"{name} is served in a tensor that is not contiguous")
    found = joined(sorted(copies, key=lambda copy: copy[0].offset))
    for taken, put in found:
        dimensions = _dimensions(taken, put)
        if any(inner * size > outer for (outer, _, _), (inner, size, _) in pairwise(dimensions)):
            raise NoPlace(f"{name} is copied in slices that overlap")
        if any(stride == 0 or (step == 0 and size > 1) for stride, size, step in dimensions):
            raise NoPlace(f"numbers of {name} are copied to several places")
    return [Spot(taken=taken, put=put, served=served, whole=whole) for taken, put in found]


def joined(copies: Sequence[tuple[Slice, Slice]]) -> list[tuple[Slice, Slice]]:
    """The same copies, those of all experts as one where they lie at equal distances."""
    groups: dict[object, list[tuple[Slice, Slice]]] = {}
    for taken, put in copies:
        groups.setdefault((taken.size, taken.stride, put.stride), []).append((taken, put))
    out = []
    for alike in groups.values():
        steps = {(there.offset - here.offset, put.offset - start.offset) for (here, start), (there, put) in pairwise(alike)}
        if len(steps) != 1:
            out += alike
            continue
        ((step, to_step),) = steps
        taken, put = alike[0]
        size = (len(alike), *taken.size)
        out.append((Slice(taken.offset, size, (step, *taken.stride)), Slice(put.offset, size, (to_step, *put.stride))))
    return out


def _dimensions(taken: Slice, put: Slice) -> list[tuple[int, int, int]]:
    """Stride, size and the other side's stride of each dimension, from the outermost of the checkpoint's tensor to its innermost."""
    found = [(stride, size, step) for stride, size, step in zip(taken.stride, taken.size, put.stride, strict=True) if size > 1]
    out: list[tuple[int, int, int]] = []
    for stride, size, step in sorted(found or [(1, 1, 1)]):
        if out and (stride, step) == (out[-1][0] * out[-1][1], out[-1][2] * out[-1][1]):  # goes on where the inner one ends, on both sides
            inner = out.pop()
            stride, size, step = inner[0], inner[1] * size, inner[2]
        out.append((stride, size, step))
    return out[::-1]
