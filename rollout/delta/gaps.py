"""Ascending places as the gaps between them, in symbols of few bits.

A symbol below the largest one is a gap, and a change follows it. The largest one passes over as many places without a change. With a width
of 1 this is a bitmap, so dense changes cost at most a bit for each place.
"""

import torch
from torch import Tensor

from rollout.delta.packing import GROUP, pack, unpack

WIDTHS = range(1, 9)  # bits of a symbol
SAMPLE = 1 << 13  # gaps that decide the width


def write_places(places: Tensor) -> tuple[int, int, Tensor]:
    """The width, the number of symbols and the bytes of ascending places [n], n ≥ 1; the width is the one with the fewest bytes."""
    gaps = places.clone()
    gaps[1:] -= places[:-1] + 1
    width = _best_width(gaps)
    largest = (1 << width) - 1
    passes = gaps // largest
    symbols = torch.full((int(passes.sum()) + len(gaps),), largest, dtype=torch.int64, device=places.device)
    ends = (passes + 1).cumsum(0) - 1
    symbols[ends] = gaps - passes * largest
    return width, len(symbols), pack(symbols, width)


def read_places(raw: Tensor, width: int, count: int) -> Tensor:
    """The places that `write_places` wrote in `count` symbols, int64."""
    if width not in WIDTHS or count < 0 or raw.numel() != symbol_bytes(width, count):
        raise ValueError(f"{raw.numel()} bytes are no {count} symbols of {width} bits")
    symbols = unpack(raw, width, count)
    passing = symbols == (1 << width) - 1
    ends = (symbols.to(torch.int64) + ~passing).cumsum(0) - 1
    return ends[~passing]


def symbol_bytes(width: int, count: int) -> int:
    """The bytes of so many symbols."""
    return -(-count // GROUP) * width


def _best_width(gaps: Tensor) -> int:
    """The best one near the number of bits of the mean gap; of many gaps some are looked at."""
    some = gaps[:: -(-len(gaps) // SAMPLE)]
    near = (int(some.sum()) // len(some)).bit_length()
    tried = sorted({min(max(near + step, WIDTHS.start), WIDTHS.stop - 1) for step in (-1, 0, 1)})
    return min(tried, key=lambda width: symbol_bytes(width, len(some) + int((some // ((1 << width) - 1)).sum())))
