"""The limits of held worlds, and why each of them is there."""

from dataclasses import dataclass

LEAVE_S = 10.0  # for the `finally` blocks of a generator and the end of its process
END_S = 3.0  # the same for all worlds when their owner ends, which is killed soon after
FORK_S = 60.0  # from the request for a process to its first word
WALL_TIMES = 4  # times a limit of own time that may pass on the clock
MAX_OUTPUT_BYTES = 1 << 20  # printed in one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one node's held worlds may take.

    A step is limited by the time that its process spends on a core or asleep: a world that computes and a world that waits for a network
    both use it up, a busy machine does not. Beside it the step may last WALL_TIMES as long on the clock.
    """

    most: int  # worlds at once
    timeout_s: float  # one step
    start_s: float  # the first step, which starts the world
    idle_s: float  # on the clock, from an answer to the next question
    memory_mb: int  # address space of one world
