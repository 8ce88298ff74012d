"""Ends the processes that an engine leaves behind when its actor is gone.

SIGKILL to an actor does not reach its children, and a stopped core notices nothing.

    python keeper.py PID PARENT SECONDS MARK FOLDER

waits for PID to end, then kills its descendants and removes FOLDER with the engine's sockets, and the shared memory that the engine has
noted there: vLLM's workers leave theirs behind when they are ended. A descendant that is a program of its own has
GATEWISE_ENGINE=MARK in its environment. A mere fork, such as an engine core, shows the environment of Ray's worker; it has a file in FOLDER
open.

It runs beside the actor, as a process of its own that no signal to the actor's children or group reaches. It needs the standard library
only, so it starts at once and is small.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

MARK = "GATEWISE_ENGINE"
SOCKETS = "VLLM_RPC_BASE_PATH"  # the folder of vLLM's sockets, which a killed engine leaves behind
INHERITED = "inherited"  # the file in that folder which forks have open
MEMORY = "memory"  # the file there with the names of shared memory
SHARED = "/dev/shm/"
KINDS = ("psm_", "vllm_")  # Python's names of shared memory, which vLLM's queues have, and vLLM's own between workers on CPUs
ORPHANED_S = 5.0  # for a process to end by itself once its parent, Ray's daemon of the node, has ended
ROUNDS, PAUSE_S = 50, 0.1  # a process may have been about to start another one


def keep_order(orphaned_s: float = ORPHANED_S) -> None:
    """Start the keeper of this process. Children that it starts from now on end with it, however it ends; vLLM's sockets are removed.

    Call it before vLLM is imported.
    """
    mark, folder = uuid.uuid4().hex, tempfile.mkdtemp(prefix="gatewise-engine-")
    # It leaves its parent at once, so this returns soon. Its own environment has no mark, as it would end itself.
    words = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(os.getppid()), str(orphaned_s), mark, folder]
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)
    os.open(os.path.join(folder, INHERITED), os.O_CREAT | os.O_RDONLY)  # stays open
    os.environ |= {MARK: mark, SOCKETS: folder}


def note_memory() -> None:
    """Write down the shared memory that the engine's processes have mapped. Call it once the engine has started."""
    folder = os.environ[SOCKETS]
    names = {name for pid in marked(os.environ[MARK], folder) for name in mapped(pid)}
    with open(os.path.join(folder, MEMORY), "w") as file:
        file.writelines(f"{name}\n" for name in sorted(names))


def mapped(pid: int) -> Iterator[str]:
    """The names of vLLM's shared memory that a process has mapped."""
    try:
        with open(f"/proc/{pid}/maps") as file:
            for line in file:
                name = line.rstrip("\n").partition(SHARED)[2]
                if name.startswith(KINDS) and not name.endswith(" (deleted)"):
                    yield name
    except OSError:  # it has ended
        return


def remove_memory(folder: str) -> None:
    """Remove the shared memory that was noted and is still there."""
    with suppress(FileNotFoundError), open(os.path.join(folder, MEMORY)) as file:
        for name in file.read().splitlines():
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(SHARED, os.path.basename(name)))


def marked(mark: str, folder: str) -> Iterator[int]:
    """The processes whose environment has the mark, and those that have the folder's file open."""
    wanted, inherited = f"{MARK}={mark}".encode(), os.path.join(os.path.realpath(folder), INHERITED)
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if wanted in file.read().split(b"\0") or inherited in links(f"/proc/{name}/fd"):
                        yield int(name)
            except OSError:  # it has ended, or is another user's
                continue


def links(folder: str) -> Iterator[str]:
    """Where the links in a folder lead."""
    with os.scandir(folder) as found:
        for link in found:
            with suppress(FileNotFoundError):  # closed meanwhile
                yield os.readlink(link)


def cleans_up(pid: int) -> bool:
    """Whether a process removes shared memory and semaphores of those that have ended, and then ends by itself."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"multiprocessing.resource_tracker" in file.read()
    except OSError:
        return False


def kill_marked(mark: str, folder: str) -> None:
    """Kill them until none is left, within a few seconds; Python's resource trackers have half of that to clean up."""
    for tried in range(ROUNDS):
        left = list(marked(mark, folder))
        if not left:
            return
        for pid in left:
            if tried < ROUNDS / 2 and cleans_up(pid):
                continue
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(PAUSE_S)
    print(f"processes of an engine that could not be killed: {left}", file=sys.stderr, flush=True)


def wait_for(pid: int, parent: int, orphaned_s: float) -> None:
    """Return once the process has ended. If its parent ends first, it is killed after `orphaned_s`: a stopped process does not notice."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        orphaned = os.pidfd_open(parent)
    except ProcessLookupError:
        orphaned = None
    if orphaned is not None and ended not in _first_to_end(ended, orphaned):
        orphaned = None
    if orphaned is None and not _first_to_end(ended, within_s=orphaned_s):
        signal.pidfd_send_signal(ended, signal.SIGKILL)


def _first_to_end(*processes: int, within_s: float | None = None) -> list[int]:
    """Which of the processes have ended, by their descriptors, as soon as one has."""
    poll = select.poll()
    for process in processes:
        poll.register(process, select.POLLIN)
    return [process for process, _ in poll.poll(None if within_s is None else 1000 * within_s)]


def main() -> None:
    """Become a process without parent, then wait and kill."""
    if os.fork():
        os._exit(0)
    os.setsid()
    pid, parent, orphaned_s, mark, folder = sys.argv[1:]
    wait_for(int(pid), int(parent), float(orphaned_s))
    kill_marked(mark, folder)
    remove_memory(folder)
    shutil.rmtree(folder, ignore_errors=True)  # another process of the node may be clearing the same temporary folder


if __name__ == "__main__":
    main()
