"""`python -m cluster.record.metrics.trackers.follow RUN_DIR TRACKER ASKED` follows a run until its standard input is closed.

A process of its own, at lowest priority: a tracker that hangs, fails or crashes costs the run nothing. It ends `end_s` seconds after the
run, or earlier with status 0 where the tracker has everything. That holds where the driver is killed too, which closes the pipe.
"""

import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path

import psutil

from cluster.record.metrics.trackers.following import Asked, Following
from cluster.record.metrics.trackers.hiding import Hiding
from cluster.record.metrics.trackers.table import TRACKERS
from reward.processes.prctl import adopt_orphans

EVERY_S = 2.0  # between two looks at the files
SOON_S, LATER_S = 5.0, 60.0  # until the next try after a failure: at first, and at most
AT_THE_END_S = 1.0  # the same once the run has ended
LAST = 19  # niceness
UNFINISHED = 3  # exit status where the tracker lacks something


def main(folder: str, name: str, asked: str) -> int:
    """Follow one run for one tracker; returns the exit status."""
    os.nice(LAST)
    adopt_orphans()  # so that whatever a library starts is found and ended
    sys.stdout, sys.stderr = Hiding(sys.stdout), Hiding(sys.stderr)
    open_end = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # no library may ask a question, and no child may hold the pipe
    following = Following(Path(folder), name, TRACKERS[name], Asked.model_validate_json(asked))
    ended = threading.Event()
    threading.Thread(target=wait_for_the_end, args=(open_end, following.asked.end_s, ended), daemon=True).start()
    threading.Thread(target=watch, args=(following,), daemon=True).start()
    keep_up(following, ended)
    return 0


def keep_up(following: Following, ended: threading.Event) -> None:
    """Send what is new, until the run has ended and everything is sent."""
    wait = SOON_S
    while True:
        last = ended.is_set()
        try:
            again = following.round(last)
            if last and not again:
                following.close()
                return
            wait = SOON_S
            ended.wait(EVERY_S)
        except Exception as error:  # a library of somebody else's, and a network
            traceback.print_exc()
            following.failed(error)
            if last:
                time.sleep(AT_THE_END_S)
            else:
                ended.wait(wait)
            wait = min(LATER_S, 2 * wait)


def wait_for_the_end(pipe: int, end_s: float, ended: threading.Event) -> None:
    """Wait until the driver closes the pipe or is gone; end this process `end_s` seconds later, whatever it does."""
    while os.read(pipe, 1):
        pass
    signal.alarm(int(end_s) + 5)  # the kernel's own clock, should a library keep every thread from running
    ended.set()
    time.sleep(end_s)
    end_children()
    os._exit(UNFINISHED)


def watch(following: Following) -> None:
    """Notice that the tracker does not answer."""
    while True:
        time.sleep(1)
        following.notice_silence()


def end_children() -> None:
    """Kill what libraries have started."""
    for child in psutil.Process().children(recursive=True):
        try:
            child.kill()
        except psutil.NoSuchProcess:
            continue


if __name__ == "__main__":
    status = main(*sys.argv[1:])
    end_children()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # everything is delivered: threads and hooks of libraries have nothing left to do
