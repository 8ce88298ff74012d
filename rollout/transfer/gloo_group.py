"""A gloo group whose waits can be called back. gloo itself notices only that a neighbour's connection is closed.

With a dead member, one that waits for rank 0, which waits for the dead one, would wait until the deadline.
"""

import ctypes
import time
from datetime import timedelta
from typing import Any

from torch import Tensor
from torch.distributed import BroadcastOptions

from rollout.transfer.meeting import GlooGroup, Pending
from rollout.transfer.recall import CalledBack, Line

LOOK = timedelta(seconds=0.5)  # between two looks at the line of a member that waits


class RecallableGloo:
    """The collectives of a gloo group, for a member with a line to its store."""

    def __init__(self, group: GlooGroup, line: Line) -> None:
        self.group, self.line = group, line
        self.is_broken = False

    def broadcast(self, tensors: list[Tensor], options: BroadcastOptions) -> Pending:
        return Recallable(self, self.group.broadcast(tensors, options))

    def allreduce(self, tensors: list[Tensor]) -> Pending:
        return Recallable(self, self.group.allreduce(tensors))

    def barrier(self) -> Pending:
        return Recallable(self, self.group.barrier())

    def broke(self) -> None:
        """Keep the group until the process ends: to free it would wait for collectives that may not end before the deadline."""
        if not self.is_broken:
            self.is_broken = True
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self.group))


class Recallable:
    """A collective that is under way."""

    def __init__(self, group: RecallableGloo, work: Any) -> None:
        self.group, self.work = group, work

    def wait(self) -> None:
        """Until it has ended; raises its error, and CalledBack once the exchange is called back or past its deadline."""
        line = self.group.line
        until = time.monotonic() + line.deadline_s
        try:
            while not self._ended():
                if reason := line.reason(until):
                    raise CalledBack(f"waited for another member: {reason}")
        except RuntimeError:
            self.group.broke()
            raise

    def _ended(self) -> bool:
        try:
            self.work.wait(LOOK)
        except RuntimeError:
            if not self.work.is_completed():
                return False  # what was raised is the end of this look
            self.work.wait()
        return True
