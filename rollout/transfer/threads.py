"""How many threads torch computes with, also in a vLLM worker."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def set_threads(count: int) -> None:
    """Have the thread that calls compute with so many.

    vLLM's CPU workers put a function that does nothing in the place of `torch.set_num_threads`, which keeps threads that it has bound to
    cores where they are. No thread moves if fewer of them compute for a while.
    """
    torch._C.set_num_threads(count)


@contextmanager
def half_the_threads() -> Iterator[None]:
    """Compute with half of this process's threads, at least one.

    On one machine the learner fills a bucket while a worker loads another. With every core's thread in both they wait for each other's.
    """
    before = torch.get_num_threads()
    set_threads(max(1, before // 2))
    try:
        yield
    finally:
        set_threads(before)
