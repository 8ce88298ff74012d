"""The two processes of `benchmarks.delta`."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from math import prod
from typing import Any

from benchmarks.peer import Work
from benchmarks.rounds import OUT
from configs.schema import Config
from rollout.transfer.proof import columns_of, fingerprint, manifest_of
from rollout.transfer.transport import Gloo, Rendezvous

HOST = "127.0.0.1"
DEADLINE_S = 120.0
TRANSPORT = Gloo(deadline_s=DEADLINE_S)
MODEL = OUT / "delta-model"
BASE = ['model.dtype="bfloat16"', "rollout.full_every=100", "learner.deepspeed.zero_optimization.stage=1"]
FIRST_STEPS = 3  # whose changes are larger: Adam's moments know one gradient only
TILE = 1 << 20


class RankEnd:
    """A learner rank."""

    def __init__(self, config: Config) -> None:
        import torch

        from cluster.actors.places.threads import reserved
        from learner.learner import Learner
        from learner.process_group import join_ranks
        from learner.weights.delta import Deltas
        from learner.weights.source import ZeroWeightSource
        from rollout.transfer.meeting import free_socket

        torch.set_num_threads(reserved(config).rank)
        listener, self.listener = free_socket(HOST), free_socket(HOST)
        port = listener.getsockname()[1]
        device = join_ranks(rank=0, world=1, host=HOST, port=port, deadline_s=DEADLINE_S, listener=listener)
        self.learner, self.lr = Learner(config, rank=0, world=1, device=device), float(config.learner.lr)
        self.source = ZeroWeightSource(self.learner.zero, torch.bfloat16, prove=True)
        self.deltas, self.held = Deltas(self.source), dict[str, tuple[int, int]]()
        self.noise, self.turns = torch.randn(TILE).bfloat16(), count()

    def manifest(self) -> dict[str, Any]:
        numbers = sum(prod(entry.shape) for entry in self.deltas.manifest)
        return {"port": self.listener.getsockname()[1], "columns": columns_of(self.deltas.manifest), "numbers": numbers}

    def join(self, port: int, **_: Any) -> dict[str, Any]:
        from learner.weights.sender import GlooSender

        for _step in range(FIRST_STEPS):
            self.step()
        meeting = Rendezvous(name="bench", host=HOST, port=port, world_size=2)
        self.sender = GlooSender(TRANSPORT, self.source, meeting, self.listener)
        self.group = self.sender.group
        return {}

    def step(self) -> dict[str, Any]:
        """One update with gradients drawn at random."""
        loss: Any = 0.0
        for number, parameter in enumerate(self.learner.zero.module.parameters()):
            drawn = self.noise.roll(number + 97 * next(self.turns))
            gradient = drawn.repeat(-(-parameter.numel() // TILE))[: parameter.numel()].view(parameter.shape)
            loss = loss + (parameter * gradient).sum().float()
        self.learner.zero.backward(loss)
        self.learner.zero.update(self.lr)
        return {}

    def whole(self) -> dict[str, Any]:
        self.sender.send()
        self.deltas.keep()
        unchanged, self.held = self.held == self.source.proof, self.source.proof
        return {"unchanged": unchanged, "bytes": sum(entry.nbytes for entry in self.deltas.manifest)}

    def delta(self) -> dict[str, Any]:
        import torch

        from rollout.transfer.digest import digest
        from rollout.transfer.meeting import broadcast

        started = time.perf_counter()
        patch = self.deltas.patch()
        said = {"diff": time.perf_counter() - started, "bytes": patch.raw.numel(), "changed": patch.changed}
        base = fingerprint(self.held)
        head = [patch.raw.numel(), *digest(patch.raw), *(int(base[start : start + 8], 16) for start in range(0, 32, 8))]
        broadcast(self.group, torch.tensor(head))
        broadcast(self.group, patch.raw)
        self.held = patch.after(self.held)
        return said


class WorkerEnd:
    """An engine's worker that serves every tensor as a checkpoint has it."""

    def __init__(self, config: Config) -> None:
        import torch

        from cluster.actors.places.threads import reserved
        from rollout.transfer.buckets import TwoBuffers

        torch.set_num_threads(reserved(config).rank)
        self.buffers = TwoBuffers()

    def join(self, port: int, columns: dict[str, list[Any]], **_: Any) -> dict[str, Any]:
        import torch

        from rollout.delta.held import InPlace
        from rollout.delta.places import Slice, spots
        from rollout.delta.taker import PatchTaker
        from rollout.transfer.lanes import accept
        from rollout.transfer.meeting import open_gloo, open_store, torch_dtype
        from rollout.transfer.recall import Line

        self.store = open_store(HOST, port, 2, DEADLINE_S)
        line = Line(self.store, "bench", DEADLINE_S)
        line.meet(2)
        self.planned = manifest_of(zip(columns["names"], columns["dtype_names"], columns["shapes"], strict=True))
        self.served = {entry.name: torch.zeros(entry.shape, dtype=torch_dtype(entry.dtype)) for entry in self.planned}
        same = {name: (Slice(0, tuple(tensor.shape), tensor.stride()), tensor) for name, tensor in self.served.items()}
        places = {name: spots([(where, where)], tensor, tensor.numel(), name) for name, (where, tensor) in same.items()}
        self.taker = PatchTaker(self.planned, InPlace(places), torch.device("cpu"))
        self.group = open_gloo(self.store, "bench", HOST, 1, 2, DEADLINE_S)
        self.halves = accept(line, 1)
        return {}

    def whole(self) -> dict[str, Any]:
        from rollout.transfer.buckets import arriving, streamed, unpacked
        from rollout.transfer.digest import read, sums
        from rollout.transfer.lanes import received

        self.taker.begin()
        found = {}
        plan = streamed(self.planned, TRANSPORT.bucket_bytes)
        arrived = received(self.group, plan, self.halves) if self.halves else arriving(self.group, plan, self.buffers.room)
        for bucket, buffer in arrived:
            for name, tensor in unpacked(buffer, bucket):
                found[name] = sums(tensor)
                self.served[name].copy_(tensor)
        self.taker.whole(read(found))
        return {}

    def delta(self) -> dict[str, Any]:
        import torch

        from rollout.transfer.meeting import broadcast

        head = torch.zeros(7, dtype=torch.int64)
        broadcast(self.group, head)
        size, total, placed, *base = head.tolist()
        raw = torch.empty(size, dtype=torch.uint8)
        broadcast(self.group, raw)
        started = time.perf_counter()
        self.taker.take("".join(f"{word:08x}" for word in base), [(raw.numpy().tobytes(), (total, placed))])
        return {"apply": time.perf_counter() - started}


@contextmanager
def rank(config: Config) -> Iterator[Work]:
    """The process that sends."""
    import torch

    yield _serve(RankEnd(config))
    torch.distributed.destroy_process_group()


@contextmanager
def worker(config: Config) -> Iterator[Work]:
    """The process that receives."""
    yield _serve(WorkerEnd(config))


def _serve(end: Any) -> Work:
    """A publish is timed from when both ends are ready until both are done."""

    def work(job: dict[str, Any]) -> dict[str, Any]:
        what = job.pop("what")
        method: Callable[..., dict[str, Any]] = getattr(end, what)
        if what not in ("whole", "delta"):
            return method(**job)
        end.group.barrier().wait()
        started = time.perf_counter()
        said = method()
        end.group.barrier().wait()
        return said | {"seconds": time.perf_counter() - started}

    return work
