"""Which numbers of a tensor differ from an earlier state of it, bit by bit."""

import numpy as np
import torch
from torch import Tensor

CPU_NUMBERS = 1 << 18  # compared at a time: both states and the marks then stay within a core's cache
GPU_NUMBERS = 1 << 28  # a mark takes a byte


def take_changes(old: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """The places [n], ascending, where two integer tensors differ, and by how much. `old` becomes `new`."""
    take, size = (_take_on_cpu, CPU_NUMBERS) if new.device.type == "cpu" else (_take, GPU_NUMBERS)
    found = [take(old[start : start + size], new[start : start + size], start) for start in range(0, len(new), size)]
    if not found:
        return torch.empty(0, dtype=torch.int64, device=new.device), new[:0]
    return torch.cat([places for places, _ in found]), torch.cat([differences for _, differences in found])


def _take(old: Tensor, new: Tensor, start: int) -> tuple[Tensor, Tensor]:
    places = (old != new).nonzero().view(-1)
    values = new[places]
    differences = values - old[places]
    old[places] = values
    return places + start, differences


def _take_on_cpu(old: Tensor, new: Tensor, start: int) -> tuple[Tensor, Tensor]:
    """The same with numpy, and 8 bytes at a time: few of these words differ, and only in those is each number looked at."""
    before, after = old.numpy(), new.numpy()
    shift = 3 - (before.itemsize.bit_length() - 1)  # 2**shift numbers are a word
    whole = len(before) >> shift << shift
    was, now = before[:whole].view(np.int64), after[:whole].view(np.int64)
    words = np.flatnonzero(was != now)
    changed = now[words]
    differences = changed.view(before.dtype) - was[words].view(before.dtype)
    found = np.flatnonzero(differences)
    places = (words[found >> shift] << shift) + (found & ((1 << shift) - 1))
    was[words] = changed
    differences = differences[found]
    if whole < len(before):
        rest = after[whole:] - before[whole:]
        beyond = np.flatnonzero(rest)
        places, differences = np.concatenate([places, beyond + whole]), np.concatenate([differences, rest[beyond]])
        before[whole:] = after[whole:]
    return torch.from_numpy(places + start), torch.from_numpy(differences)
