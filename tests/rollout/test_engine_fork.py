"""What a forked engine core has of its parent."""

import gc
import os
import socket
from pathlib import Path

from rollout.engine.fork import CORE, begin


def test_a_forked_core_has_none_of_its_parents_sockets_and_all_its_other_files():
    ours, theirs = socket.socketpair()
    reading, writing = os.pipe()
    with ours, theirs:
        gc.disable()
        child = os.fork()
        if child == 0:
            begin(lambda title: os.write(writing, title.encode()))
            left = [fd for fd in (ours.fileno(), theirs.fileno()) if Path(f"/proc/self/fd/{fd}").exists()]
            os._exit(len(left) + (not gc.isenabled()))
        gc.enable()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert os.read(reading, 100) == CORE.encode()
    os.close(reading)
    os.close(writing)
