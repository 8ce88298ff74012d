"""Checkers that misbehave, each in one way, for the tests of the reward pool."""

import ctypes
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path


def echo(response: str, reference: object) -> float:
    """The number that the response is, so that a verdict shows which item it belongs to."""
    return float(response)


def hang(response: str, reference: object) -> float:
    """Echo, except that the response "hang" never ends."""
    while response == "hang":
        time.sleep(1)
    return float(response)


def raise_error(response: str, reference: object) -> float:
    raise KeyError("no such thing")


def raise_if_asked(response: str, reference: object) -> float:
    """Half right, except that the response "raise" raises."""
    if response == "raise":
        raise KeyError("asked to")
    return 0.5


def leave(response: str, reference: object) -> float:
    raise SystemExit(0)


def exit_at_once(response: str, reference: object) -> float:
    os._exit(3)


def segfault(response: str, reference: object) -> float:
    ctypes.string_at(0)
    return 1.0


def kill_itself_once(response: str, reference: object) -> float:
    """Die by SIGKILL at the first call, score at the second; the reference is a file that remembers."""
    memory = Path(str(reference))
    if not memory.exists():
        memory.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1.0


def eat_memory(response: str, reference: object) -> float:
    eaten = []
    while True:
        eaten.append(bytearray(16 * 2**20))


def log_and_eat_memory(response: str, reference: object) -> float:
    with open(str(reference), "a") as log:
        log.write("eats\n")
    return eat_memory(response, reference)


hoard: list[bytearray] = []


def keep_or_need_memory(response: str, reference: object) -> float:
    """Keep as many MB for good, or (less than none) need so many for a moment."""
    megabytes = int(response)
    needed = bytearray(abs(megabytes) * 2**20)
    if megabytes > 0:
        hoard.append(needed)
    return 1.0


def keep_memory_and_swallow_the_error(response: str, reference: object) -> float:
    """1.0 as long as 45 MB more can be had, never to be given back."""
    try:
        hoard.append(bytearray(45 * 2**20))
    except MemoryError:
        return 0.0
    return 1.0


def not_a_number(response: str, reference: object) -> float:
    return float("nan")


def not_even_a_float(response: str, reference: object) -> object:
    return "1.0"


def print_for_ever(response: str, reference: object) -> float:
    while True:
        print("x" * 10_000, flush=True)


def start_a_program_and_hang(response: str, reference: object) -> float:
    """Leave its process id in the reference, a file, and never end."""
    program = subprocess.Popen(["sleep", "300"])
    Path(str(reference)).write_text(str(program.pid))
    time.sleep(300)
    return 1.0


def log_and_echo(response: str, reference: object) -> float:
    """Echo slowly, with a line in the reference, a file, for each call."""
    with open(str(reference), "a") as log:
        log.write(f"{response}\n")
    time.sleep(0.005)
    return float(response)


def is_light(response: str, reference: object) -> float:
    """1.0 when none of the modules named in the reference has been imported."""
    return float(not set(reference) & set(sys.modules))  # type: ignore[call-overload]


def environment(response: str, reference: object) -> float:
    raise ValueError(",".join(sorted(os.environ)))


def length(response: str, reference: object) -> float:
    return float(len(response))


def is_reference(response: str, reference: object) -> float:
    return float(reference == {"answers": [1, "two", None]})


def wants_three(response: str, reference: object, more: object) -> float:
    return 1.0


not_callable = 1.0


def nap(response: str, reference: object) -> float:
    """Echo after as many seconds as the reference says."""
    time.sleep(float(str(reference)))
    return float(response)


def end_the_parent(response: str, reference: object) -> float:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)
    return 1.0


def leave_a_daemon(response: str, reference: object) -> float:
    """Start a process that has left our process group and whose parent has ended; its id goes into the reference, a file."""
    program = "import os, time\nos.fork() and os._exit(0)\nos.setsid()\nprint(os.getpid(), flush=True)\nos.close(1)\ntime.sleep(300)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        Path(str(reference)).write_bytes(started.stdout.readline())
    return 1.0


def sees_itself_confined(response: str, reference: object) -> float:
    """1.0 in a process group of its own, in the template's session, first in line when memory is short, without core files."""
    own_group = os.getpgrp() == os.getpid() and os.getsid(0) == os.getppid()
    first = Path("/proc/self/oom_score_adj").read_text().strip() == "1000"
    return float(own_group and first and resource.getrlimit(resource.RLIMIT_CORE) == (0, 0))
