"""A member of a gloo group that waits for rank 0, which waits for a dead one: it is called back, and its group holds nobody up."""

import os
import subprocess
import sys
import time
from datetime import timedelta

import torch
from torch.distributed import TCPStore

from rollout.transfer.gloo_group import RecallableGloo
from rollout.transfer.meeting import begin_broadcast, open_gloo
from rollout.transfer.recall import CalledBack, Line, call_back
from rollout.transfer.transport import Rendezvous

HOST, NAME, WORLD, DEADLINE_S = "127.0.0.1", "publish", 3, 60.0
WAITS, DIES = 2, 1


def member(rank: int, port: int) -> None:
    """One process: rank 0 sends nothing, one rank dies, the last one waits for rank 0."""
    store = TCPStore(HOST, port, WORLD, is_master=False, timeout=timedelta(seconds=DEADLINE_S))
    line = Line(store, NAME, DEADLINE_S)
    group = RecallableGloo(open_gloo(store, NAME, HOST, rank, WORLD, DEADLINE_S), line)
    store.add("opened", 1)
    if rank == DIES:
        os._exit(0)
    if rank == 0:
        time.sleep(DEADLINE_S)
    began = time.monotonic()
    try:
        begin_broadcast(group, torch.zeros(1)).wait()
    except CalledBack as error:
        del group
        print(f"{time.monotonic() - began:.1f} {error}", flush=True)


def test_a_wait_for_a_member_that_waits_for_a_dead_one_is_called_back_and_ends_its_process():
    store = TCPStore(HOST, 0, WORLD, is_master=True, wait_for_workers=False)
    code = "import sys; from tests.rollout.test_gloo_group import member; member(int(sys.argv[1]), int(sys.argv[2]))"
    started = [subprocess.Popen([sys.executable, "-c", code, str(rank), str(store.port)], stdout=subprocess.PIPE) for rank in range(WORLD)]
    try:
        while store.add("opened", 0) < WORLD:
            time.sleep(0.02)
        call_back(Rendezvous(name=NAME, host=HOST, port=store.port, world_size=WORLD))
        said, _ = started[WAITS].communicate(timeout=DEADLINE_S / 2)
        assert b"waited for another member: the publish was called back" in said
        assert float(said.split()[0]) < DEADLINE_S / 4
    finally:
        for process in started:
            process.kill()
            process.wait()
