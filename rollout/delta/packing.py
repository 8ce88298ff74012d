"""Small numbers as bits: eight symbols of `width` bits make `width` bytes, on CPU and on a GPU alike."""

import torch
from torch import Tensor

GROUP = 8  # symbols; of at most 8 bits each they fill at most one 64-bit word


def pack(symbols: Tensor, width: int) -> Tensor:
    """Symbols [n], each below 2**width, as uint8 [ceil(n / 8) * width]; `width` is 1 to 8."""
    groups = -(-symbols.numel() // GROUP)
    # Symbols that do not cross the bounds of bytes are put together byte by byte, which is faster and gives the same bytes.
    together, dtype = (GROUP // width, torch.uint8) if GROUP % width == 0 else (GROUP, torch.int64)
    padded = torch.zeros(groups * GROUP, dtype=dtype, device=symbols.device)
    padded[: symbols.numel()] = symbols
    columns = padded.view(-1, together)
    words = columns[:, 0].clone(memory_format=torch.contiguous_format)
    for place in range(1, together):
        words |= columns[:, place] << (place * width)
    return words if dtype == torch.uint8 else words.view(torch.uint8).view(groups, GROUP)[:, :width].reshape(-1)


def unpack(raw: Tensor, width: int, count: int) -> Tensor:
    """The first `count` symbols that `pack` wrote: uint8."""
    together, groups = GROUP // width, raw.numel() // width
    if GROUP % width == 0:
        words = raw.view(-1, 1)
    else:
        padded = torch.zeros(groups, GROUP, dtype=torch.uint8, device=raw.device)
        padded[:, :width] = raw.view(groups, width)
        together, words = GROUP, padded.view(torch.int64)
    out = torch.empty(len(words), together, dtype=torch.uint8, device=raw.device)
    for place in range(together):
        out[:, place] = (words[:, 0] >> (place * width)) & ((1 << width) - 1)
    return out.view(-1)[:count]
