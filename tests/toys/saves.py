"""A saver with everything around it: toy ranks, real checkpoints."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cluster.record.checkpoint import Checkpoints, Position, faults
from cluster.record.saves.saver import Saver
from cluster.stop import Stop
from configs.hashes import hash_file
from tests.toys.run import run_config

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
WORDS = "disk full: OSError: [Errno 28] No space left on device"


class ToyRanks:
    """One rank, whose state is the newest step. What it copies is written when `gate` opens."""

    def __init__(self) -> None:
        self.step, self.copy, self.done = 0, 0, list[str]()
        self.gate = asyncio.Event()
        self.gate.set()
        self.fails: dict[str, BaseException] = {}

    async def _do(self, what: str) -> None:
        self.done.append(f"{what} {self.step if what != 'write' else self.copy}")
        if (error := self.fails.get(what)) is not None:
            raise error

    async def snapshot(self) -> None:
        await self._do("snapshot")
        self.copy = self.step

    async def write(self, folder: Path) -> list[dict[str, Any]]:
        state, copy = folder / "rank-0.json", self.copy
        state.write_text("half")
        await self.gate.wait()
        await self._do("write")
        state.write_text(str(copy))
        return [{state.name: {"bytes": state.stat().st_size, "hash": hash_file(state)}}]

    async def export(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "model.safetensors").write_text("half")
        await self._do("export")
        (folder / "model.safetensors").write_text(str(self.step))


class ToyRecord:
    """A ledger, or metrics."""

    def flush(self) -> None: ...
    def complaint(self) -> str:
        return ""


class Site:
    """A saver with everything around it."""

    def __init__(self, folder: Path, **run: Any) -> None:
        self.config = run_config(folder, run={"dir": str(folder), "steps": 20, "save_every": 4, "deadline_s": 5} | run)
        self.ranks, self.stop, self.said = ToyRanks(), Stop(), list[str]()
        self.checkpoints = Checkpoints(self.config)
        self.record: Any = ToyRecord()
        self.saver = Saver(self.config, self.ranks, self.checkpoints, [self.record], self.said.append, self.stop)

    async def learn(self, *steps: int) -> None:
        for step in steps:
            self.ranks.step = step
            await self.saver.after_step(Position(step=step, next_group=2 * step, pending=()), {})

    def saved(self) -> dict[str, str]:
        """The checkpoints, each with the step whose state it has."""
        assert all(faults(path) == [] for path in self.checkpoints.whole())
        return {path.name: (path / "rank-0.json").read_text() for path in self.checkpoints.whole()}

    def folders(self) -> list[str]:
        return sorted(path.name for path in self.checkpoints.folder.glob("step_*"))


def at(folder: Path, work: Callable[[Site], Awaitable[None]], **run: Any) -> Site:
    async def begin() -> Site:
        site = Site(folder, **run)
        async with asyncio.timeout(30), site.saver.from_step(0):
            await work(site)
        return site

    return asyncio.run(begin())
