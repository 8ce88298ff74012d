"""Ends an engine's actor once vLLM's engine core has ended: calls that wait for a dead core would wait until the deadline."""

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from cluster.causes.died import describe_exit

GRACE_S = 3.0  # for vLLM to raise its own error in the calls that it still can end
RETRIES = 30


class CoreWatch:
    """Waits in a thread for the first of an engine's processes to end."""

    def __init__(self, processes: Sequence[BaseProcess], leave: Callable[[int], None] = os._exit) -> None:
        self.processes, self.leave = processes, leave
        self.expected = False  # the engine is being shut down
        threading.Thread(target=self._watch, daemon=True, name="core watch").start()

    def _watch(self) -> None:
        wait([process.sentinel for process in self.processes])
        for _ in range(RETRIES):  # while another thread reaps the process, its exit code is unknown
            if any(process.exitcode is not None for process in self.processes):
                break
            time.sleep(GRACE_S / RETRIES)
        for process in self.processes:
            if not self.expected and process.exitcode is not None:
                print(f"{process.name} (process {process.pid}): {describe_exit(process.exitcode)}", file=sys.stderr, flush=True)
        time.sleep(GRACE_S)
        if not self.expected:
            self.leave(1)
