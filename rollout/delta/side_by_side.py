"""Independent pieces of work on tensors, on all threads that torch may use."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from rollout.transfer.threads import set_threads

A = TypeVar("A")
B = TypeVar("B")


def side_by_side(work: Callable[[A], B], items: Sequence[A], device: torch.device) -> list[B]:
    """What `work` makes of each item, in order. On a GPU one after another: its kernels are wide enough."""
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1 or len(items) == 1:
        return [work(item) for item in items]

    def alone(item: A) -> B:
        set_threads(1)  # of this thread: those of torch would fight for the same cores
        with torch.no_grad():
            return work(item)

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(alone, items))
