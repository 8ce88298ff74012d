"""Learner ranks whose model is one number."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import ray
import xxhash

from benchmarks.faults.plan import number_of
from benchmarks.faults.toys import MODEL, NAMES, WHOLE, Tokens, meet
from benchmarks.faults.world import Made, Process, World
from rollout.transfer.proof import Entry, Manifest
from rollout.transfer.transport import Rendezvous


@dataclass
class ToyRank:
    """Learns by adding up the numbers of all tokens with the other ranks, and knows the groups of every step that it ever learned."""

    world: World
    me: Process
    rank: int
    life: int  # how often the ranks were started
    weights: int = MODEL
    lineage: list[tuple[int, list[int]]] = field(default_factory=list)
    rounds: int = 0

    async def address(self) -> tuple[str, int]:
        return "10.0.0.1", 1

    async def node(self) -> str:
        return f"10.0.0.{self.me.node}"

    async def start(self, host: str, port: int) -> str:
        await self.me.work("start", self.world.shape.lasts(self.world.shape.times.rank_start, self.me.role))
        await self.together("start")
        return await self.node()

    async def together(self, what: str, brings: Any = None) -> list[Any]:
        """A collective of all ranks."""
        self.rounds += 1
        key = ("ranks", self.life, what, self.rounds)
        return await self.world.meet(key, self.world.shape.ranks, self.world.shape.times.deadline, self.me, brings)

    async def step(self, shared: Any, tokens: Mapping[Any, Made], recorded: Any) -> dict[str, float]:
        summaries, _ = shared
        number = len(self.lineage) + 1
        await self.me.work("fetch", 0.05)
        mine = [self.fetch(made, member) for (_, member), made in tokens.items()]
        for one in mine:
            if number - 1 - one.oldest > self.world.shape.staleness:
                self.world.history.wrong(f"step {number} learned tokens of version {one.oldest} of group {one.group}")
        await self.me.work("forward", self.world.shape.lasts(self.world.shape.times.learn, "learn", number) / 2)
        sums = await self.together("update", sum(one.number for one in mine) & WHOLE)
        await self.me.work("update", self.world.shape.lasts(self.world.shape.times.learn, "learn", number) / 2)
        self.weights = number_of(self.weights, sum(sums) & WHOLE) & WHOLE
        self.lineage.append((number, [summary.group_id for summary in summaries]))
        self.world.history.weights.setdefault(number, set()).add(self.weights)
        return {"loss": float(self.weights % 1000), "entropy": 1.0, "load/dead": 0.0}

    def fetch(self, made: Made, member: int) -> Tokens:
        """What an object holds, as `ray.get` in a rank returns it."""
        if made.lost:
            raise ray.exceptions.ObjectLostError("ab" * 28, None, "respond")
        found = made.value[member] if isinstance(made.value, list) else made.value
        assert isinstance(found, Tokens)
        return found

    async def ping(self) -> None: ...

    async def expert_load(self) -> Any:
        return np.array([[len(self.lineage), 1]])

    async def room(self) -> int:
        return 1 << 30

    async def park(self) -> None:
        await self.me.work("park", 0.5)

    async def unpark(self) -> None:
        await self.me.work("unpark", 0.5)

    async def manifest(self) -> Manifest:
        return tuple(Entry(name, "float32", (2, 3)) for name in NAMES)

    async def join_transfer(self, transport: Any, meeting: Rendezvous) -> None:
        self.meeting = meeting
        await self.me.work("join", self.world.shape.times.join)
        if self.rank == 0:
            await meet(self.world, self.me, meeting, "join")

    async def send(self) -> dict[str, tuple[int, int]]:
        await self.me.work("send", 0.05)
        if self.rank:
            return {}
        await meet(self.world, self.me, self.meeting, "transfer", self.weights)
        await self.me.work("send", self.world.shape.times.transfer)
        return dict.fromkeys(NAMES, (self.weights, 1))

    def text(self) -> str:
        """The state of the rank."""
        return json.dumps({"weights": self.weights, "lineage": self.lineage, "padding": "." * 64})

    async def save(self, folder: str) -> None:
        """Write in two parts, so that a death between them leaves a file that is cut off."""
        text = self.text()
        await self.me.work("save", 0)
        with (Path(folder) / f"rank-{self.rank}.json").open("w") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            await self.me.work("save", self.world.shape.lasts(self.world.shape.times.save, self.me.role, len(self.lineage)))
            file.write(text[len(text) // 2 :])
        await self.together("save")

    async def snapshot(self) -> None:
        await self.me.work("snapshot", 0.5)
        self.copy = self.text()

    async def write(self, folder: str) -> dict[str, dict[str, Any]]:
        """Write the snapshot in two parts, so that a death between them leaves a file that is cut off."""
        path, text = Path(folder) / f"rank-{self.rank}.json", self.copy
        with path.open("w") as file:
            file.write(text[: len(text) // 2])
            file.flush()
            await self.me.work("write", self.world.shape.lasts(self.world.shape.times.save, self.me.role, len(text)))
            file.write(text[len(text) // 2 :])
            file.flush()
            os.fsync(file.fileno())
        return {path.name: {"bytes": len(text), "hash": f"xxh3_128:{xxhash.xxh3_128(text.encode()).hexdigest()}"}}

    async def load(self, folder: str) -> None:
        await self.me.work("load", self.world.shape.times.load)
        found = json.loads((Path(folder) / f"rank-{self.rank}.json").read_text())
        self.weights, self.lineage = found["weights"], [(step, groups) for step, groups in found["lineage"]]
        self.world.history.weights.setdefault(len(self.lineage), set()).add(self.weights)
        await self.together("load")

    async def shutdown(self) -> None: ...
