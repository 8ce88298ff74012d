"""vLLM's engine core as a fork of the process that asks for it, which has imported vLLM already."""

import gc
import multiprocessing
import os
import stat
from collections.abc import Callable
from functools import partial

CORE = "VLLM::EngineCore"  # vLLM's own title for such a process


def fork_the_core(entitle: Callable[[str], object]) -> None:
    """Have vLLM fork its engine core in this process; on CPUs it would start an interpreter that imports vLLM, for many seconds, again.

    `entitle` gives a process its title. Not where a GPU is used: CUDA survives no fork.
    """
    from vllm.v1.engine import utils

    context = multiprocessing.get_context("fork")
    vars(utils)["get_mp_context"] = lambda: context
    os.register_at_fork(after_in_child=partial(begin, entitle))


def begin(entitle: Callable[[str], object]) -> None:
    """Be a process of its own: with its own title, without its parent's sockets, and collecting its own garbage."""
    entitle(CORE)
    close_sockets()
    gc.freeze()  # what it shares with its parent stays shared
    gc.enable()


def close_sockets() -> None:
    """Close the sockets that a fork has inherited: while it has them, Ray would not notice the end of its parent."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                os.close(int(name))
        except OSError:  # the descriptor of this very listing
            continue
