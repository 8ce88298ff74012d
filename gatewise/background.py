"""Work in a thread of its own, so that a notebook's running event loop does not matter, and Ctrl-C in the caller stops it cleanly."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import TypeVar

from cluster.stop import Stop
from configs.errors import InputError

T = TypeVar("T")

BUSY = threading.Lock()  # Ray allows one session a process
LOOK_S = 0.5  # a signal that the kernel gives to another thread does not wake a wait without an end


def in_background(work: Callable[[Stop], T], *, with_ray: bool = True) -> T:
    """Do `work` in another thread and wait for it. InputError if it needs Ray and this process already does work that does.

    KeyboardInterrupt stops the work and is raised when everything is stopped; a second one does not wait for that.
    """
    stop = Stop()

    def alone() -> T:
        if not BUSY.acquire(blocking=False):
            raise InputError("this process already trains, evaluates or exports: wait for that, or start another process")
        try:
            return work(stop)
        finally:
            BUSY.release()

    executor = ThreadPoolExecutor(1, thread_name_prefix="gatewise")
    doing = alone if with_ray else lambda: work(stop)
    future = executor.submit(copy_context().run, doing)  # the context says to which cell of a notebook output belongs
    executor.shutdown(wait=False)  # after this one piece of work
    try:
        while not wait([future], LOOK_S).done:
            pass
        executor.shutdown()
        return future.result()
    except KeyboardInterrupt:
        stop.ask()
        wait([future])
        raise
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
