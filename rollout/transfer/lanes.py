"""How buckets get from the learner's first rank to the engines' workers: over the wire, or through memory that all of them share.

    wire      rank 0 broadcasts each bucket
    shared    rank 0 ── "ready" ──► workers       the bucket lies in memory of this machine
              rank 0 ◄── "done" ─── workers       its room may be filled again

Both have room for two buckets. The members agree on one when they join: memory is shared where every worker is on the machine of rank 0
and `/dev/shm` has room. The words are tiny collectives of the transfer group, so a lost member ends every wait as it does on the wire.
"""

import json
import secrets
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from rollout.transfer.buckets import TwoBuffers, size_of
from rollout.transfer.local_memory import Exported, map_buffer
from rollout.transfer.meeting import GlooGroup, Pending, begin_broadcast
from rollout.transfer.proof import Entry
from rollout.transfer.recall import Line

Plan = Sequence[list[Entry]]
CPU = torch.device("cpu")
TOKEN = 16  # bytes at the end of the shared memory that say that it is the same


class Sending(Protocol):
    """Rank 0's end."""

    def begin(self) -> None:
        """Begin a publish."""

    def room(self, number: int, nbytes: int) -> Tensor:
        """Room for a bucket, once that of the bucket two before is free."""

    def leave(self, buffer: Tensor) -> None:
        """Let a filled bucket leave; its bytes stay readable until room for the bucket after the next is asked for."""

    def end(self) -> None:
        """Wait until all buckets have left."""

    def close(self) -> None:
        """Give the memory back."""


class Wire:
    """Rank 0's end of broadcasts."""

    def __init__(self, group: GlooGroup) -> None:
        self.group, self.buffers = group, TwoBuffers()
        self.leaving: deque[Pending] = deque()

    def begin(self) -> None:
        self.leaving.clear()

    def room(self, number: int, nbytes: int) -> Tensor:
        if len(self.leaving) > 1:
            self.leaving.popleft().wait()
        return self.buffers.room(number, nbytes)

    def leave(self, buffer: Tensor) -> None:
        self.leaving.append(begin_broadcast(self.group, buffer))

    def end(self) -> None:
        while self.leaving:
            self.leaving.popleft().wait()

    def close(self) -> None: ...


class SharedMemory:
    """Rank 0's end of memory that it shares with every worker."""

    def __init__(self, group: GlooGroup, memory: Exported, room_bytes: int) -> None:
        self.group, self.memory = group, memory
        self.halves = memory.buffer[: 2 * room_bytes].chunk(2)
        self.words: list[Pending] = []
        self.done: deque[Pending] = deque()

    def begin(self) -> None:
        self.words, self.done = [], deque()

    def room(self, number: int, nbytes: int) -> Tensor:
        if number > 1:
            self.done.popleft().wait()
        return self.halves[number % 2][:nbytes]

    def leave(self, buffer: Tensor) -> None:
        self.words.append(_ready(self.group))
        if len(self.words) > 1:
            self.done.append(_done(self.group))

    def end(self) -> None:
        if self.words:
            self.done.append(_done(self.group))
        for word in (*self.words, *self.done):
            word.wait()

    def close(self) -> None:
        self.memory.close()


def received(group: GlooGroup, plan: Plan, halves: Sequence[Tensor]) -> Iterator[tuple[list[Entry], Tensor]]:
    """A worker's end of shared memory: each bucket with its bytes, which change once the next one is asked for."""
    words = [_ready(group) for _ in plan[:2]]
    for number, bucket in enumerate(plan):
        words[number].wait()
        yield bucket, halves[number % 2][: size_of(bucket)]
        done = _done(group)
        if number + 2 < len(plan):
            words.append(_ready(group))
        elif number + 1 == len(plan):
            done.wait()


def offer(group: GlooGroup, line: Line, workers: int, room_bytes: int) -> Sending:
    """For rank 0: share memory with room for two buckets, if all workers can see it."""
    try:
        memory = Exported(2 * room_bytes + TOKEN, CPU)
    except OSError:
        line.store.set("memory", "")
        return Wire(group)
    token = secrets.token_bytes(TOKEN)
    memory.buffer[-TOKEN:] = torch.frombuffer(bytearray(token), dtype=torch.uint8)
    line.store.set("memory", json.dumps({"address": memory.address, "token": token.hex()}))
    line.wait("seen", "the engines to look at shared memory")
    memory.hide()  # every worker that can has mapped it, so nothing stays behind where all are killed
    if line.store.add("sharers", 0) == workers:
        return SharedMemory(group, memory, room_bytes)
    memory.close()
    return Wire(group)


def accept(line: Line, workers: int) -> Sequence[Tensor]:
    """For a worker: both halves of the memory that all share, or nothing where buckets come over the wire."""
    offered = line.wait("memory", "the learner's shared memory").decode()
    if not offered:
        return ()
    memory = _mapped(**json.loads(offered))
    line.store.add("sharers", 1 if memory is not None else 0)
    if line.store.add("lookers", 1) == workers:
        line.store.set("seen", "")
    line.wait("seen", "the other engines to look at shared memory")
    if memory is None or line.store.add("sharers", 0) < workers:
        return ()
    return memory[:-TOKEN].chunk(2)


def _mapped(address: str, token: str) -> Tensor | None:
    """The memory at an address, if this machine has it and it is the same."""
    there = json.loads(address)
    path = Path(there["path"])
    if not path.exists() or path.stat().st_size != there["size"]:  # to map it would make it
        return None
    memory = map_buffer(address, CPU)
    return memory if bytes(memory[-TOKEN:].tolist()).hex() == token else None


def _ready(group: GlooGroup) -> Pending:
    """Rank 0 says that a bucket is there; the workers hear it."""
    return begin_broadcast(group, torch.zeros(1))


def _done(group: GlooGroup) -> Pending:
    """It ends once every worker has said that it is done with a bucket."""
    return group.allreduce([torch.zeros(1)])
