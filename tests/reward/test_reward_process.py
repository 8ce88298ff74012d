"""One worker process: what it says is read to the letter, and nothing of it outlives it."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from reward.processes.children import describe_end, is_exiting
from reward.programs import scratch
from reward.workers.pool import Item, RewardPool
from reward.workers.protocol import Message

pytestmark = pytest.mark.timeout(60)


def living(pids: Sequence[int], seconds: float = 10.0) -> list[int]:
    """Which of these processes still run once they have had a while to die: a kill is sent, the kernel acts on it in its own time."""

    def runs(pid: int) -> bool:
        try:
            return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if runs(pid)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def test_what_a_late_checker_has_started_dies_with_it(tmp_path: Path) -> None:
    file = tmp_path / "pid"

    async def main() -> str:
        async with RewardPool(workers=1, timeout_s=0.3, memory_mb=512) as pool:
            item = Item(checker="tests.toys.bad_checkers:start_a_program_and_hang", response="1", reference=str(file))
            return (await pool.score([item]))[0].failure or ""

    assert asyncio.run(main()).startswith("timeout:")
    assert living([int(file.read_text())]) == []


def test_workers_die_with_an_owner_that_is_killed() -> None:
    code = (
        "import asyncio, os, signal\nfrom reward.workers.pool import RewardPool\n"
        "async def main():\n"
        "    pool = RewardPool(workers=2, timeout_s=5, memory_mb=512)\n"
        "    await pool.ready()\n"
        "    print(*pool.pids, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())"
    )
    owner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert owner.returncode == -signal.SIGKILL
    pids = [int(pid) for pid in owner.stdout.split()]
    assert len(pids) == 2
    assert living(pids) == []


@pytest.mark.parametrize(
    "line",
    [b"", b"\x80\x04K\x01.", b"null", b"[1]", b"{}", b'["scored"]', b'["scored",0,NaN,"",{},[]]', b'["scored",0,Infinity,"",{},[]]',
     b'["won",0,1.0,"",{},[]]', b'["scored",0,1.0,"",{},[],1]', b'["scored",0,1,"",{},[]]', b'["scored",0,1.0,"",{"words":1},[]]',
     b'["scored","0",1.0,"",{},[]]', b'["scored",0,1.0,null,{},[]]', b'["scored",0,1.0,"",[],[]]', b'{"state":"scored"}'],
)  # fmt: skip
def test_a_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Message.decode(line)


def test_folders_of_programs_whose_worker_has_ended_are_removed_by_the_pool() -> None:
    gone = subprocess.run([sys.executable, "-S", "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True).stdout

    def leave(name: str) -> Path:
        left = Path(tempfile.gettempdir()) / f"{scratch.PREFIX}-{gone.strip()}-{name}"
        (left / "program").mkdir(parents=True)
        return left

    async def main() -> None:
        async with RewardPool(workers=1, timeout_s=20, memory_mb=4096) as pool:
            await pool.ready()
            left = leave("killed")
            os.kill(pool.pids[0], signal.SIGKILL)
            deadline = time.monotonic() + 10
            while left.exists():
                assert time.monotonic() < deadline
                await asyncio.sleep(0.02)
            await pool.ready()
            assert not left.exists()
            leave("closed")

    asyncio.run(main())
    assert not list(Path(tempfile.gettempdir()).glob(f"{scratch.PREFIX}-{gone.strip()}-*"))


def test_every_end_of_a_process_has_words() -> None:
    ends = [describe_end(status) for status in (0, 3, -9, -35)]
    assert ends == ["exited with status 0", "exited with status 3", "was killed by SIGKILL", "was killed by signal 35"]


def test_a_process_is_exiting_only_while_it_ends() -> None:
    assert not is_exiting(os.getpid())
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    assert is_exiting(ended.pid)
    ended.wait()
    assert not is_exiting(ended.pid)
