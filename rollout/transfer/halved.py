"""Threads while both ends of a transfer work at once."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def half_the_threads() -> Iterator[None]:
    """Compute with half of this process's threads, at least one.

    On one machine the learner fills a bucket while a worker loads another. With every core's thread in both they wait for each other's.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)
