"""What single numbers add to the digest of a tensor: its sums (`rollout.transfer.digest`) are linear, so a patch carries it forward."""

from collections.abc import Sequence

import torch
from torch import Tensor

from rollout.transfer.digest import WORD


def shares_of_digest(places: Tensor, states: Sequence[Tensor], total: int) -> Tensor:
    """What the numbers at `places` of a tensor of `total` numbers add to its two sums, in each state: int64 [states, 2].

    States are the bits [n] of these numbers as signed integers of the tensor's own size.
    """
    size = states[0].element_size()
    if size == WORD:
        return _summed(states, places + 1)
    if size > WORD:
        low, high = [(state << 32) >> 32 for state in states], [state >> 32 for state in states]
        return _summed(low, 2 * places + 1) + _summed(high, 2 * places + 2)
    in_word, bits = WORD // size, 8 * size
    whole = total // in_word  # words; numbers beyond them count byte by byte
    cut = len(places) if whole * in_word == total else int(torch.searchsorted(places, whole * in_word))
    lanes = (places[:cut] & (in_word - 1)).to(torch.int32)
    last, shifts = lanes == in_word - 1, lanes * bits
    words = [_in_words(state[:cut].to(torch.int32), last, shifts, (1 << bits) - 1) for state in states]
    found = _summed(words, (places[:cut] >> (in_word // 2)) + 1)
    at = places[cut:] - whole * in_word
    for byte in range(size if cut < len(places) else 0):
        found = found + _summed([(state[cut:].to(torch.int64) >> (8 * byte)) & 0xFF for state in states], whole + at * size + byte + 1)
    return found


def _in_words(numbers: Tensor, last: Tensor, shifts: Tensor, mask: int) -> Tensor:
    """What numbers that are smaller than a word add to it; the last number of a word has its sign."""
    return torch.where(last, numbers, numbers & mask) << shifts


def _summed(states: Sequence[Tensor], places: Tensor) -> Tensor:
    sums = [sum_ for values in states for sum_ in (values.sum(dtype=torch.int64), (values * places).sum())]
    return torch.stack(sums).view(-1, 2)
