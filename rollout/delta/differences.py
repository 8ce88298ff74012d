"""Differences between the bits of numbers: most updates at a small learning rate move a bfloat16 by one unit in its last place.

Bits are subtracted as whole numbers modulo their size, so every pattern survives: NaNs with their payloads, -0.0, infinities.

    +1, -1               2 bits
    within a byte        2 bits and the byte
    all others           2 bits and the whole number
"""

import torch
from torch import Tensor

from rollout.delta.packing import pack, unpack

CODE_BITS = 2
UP, DOWN, BYTE, WHOLE = range(4)
INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes


def as_integers(tensor: Tensor) -> Tensor:
    """The bits of a contiguous tensor as signed whole numbers, flat, in the same memory."""
    return tensor.view(-1).view(INTEGERS[tensor.element_size()])


def write_differences(differences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The codes, the bytes and the whole numbers of differences [n], of which none is 0."""
    codes = (differences == -1).to(torch.uint8)
    others = (differences.abs() != 1).nonzero().view(-1)
    rest = differences[others]
    small = rest == rest.to(torch.int8)
    codes[others] = torch.where(small, BYTE, WHOLE).to(torch.uint8)
    return pack(codes, CODE_BITS), rest[small].to(torch.int8), rest[~small]


def read_differences(raw: Tensor, small: Tensor, whole: Tensor, count: int) -> Tensor:
    """The differences that `write_differences` wrote, of the type of `whole`."""
    codes = unpack(raw, CODE_BITS, count)
    is_small, is_whole = codes == BYTE, codes == WHOLE
    if (int(is_small.sum()), int(is_whole.sum())) != (len(small), len(whole)):
        raise ValueError(f"{len(small)} bytes and {len(whole)} whole numbers do not fit the codes of {count} differences")
    found = 1 - 2 * codes.to(whole.dtype)
    found[is_small] = small.to(whole.dtype)
    found[is_whole] = whole
    return found
