"""The learner's end of a transfer to CPUs: real gloo groups and shared memory, with engines in threads."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch

from learner.weights.sender import GlooSender
from rollout.transfer import lanes
from rollout.transfer.buckets import TwoBuffers, arriving, streamed, unpacked
from rollout.transfer.digest import digest
from rollout.transfer.lanes import SharedMemory, Wire, accept, received
from rollout.transfer.meeting import free_socket, open_gloo, open_store
from rollout.transfer.proof import Entry
from rollout.transfer.recall import CalledBack, Line, call_back
from rollout.transfer.transport import Gloo, Rendezvous
from tests.toys.weight_source import Source


@pytest.fixture
def listener():
    with free_socket("127.0.0.1") as listening:
        yield listening


def test_a_gloo_sender_whose_engines_are_lost_takes_part_in_the_gathers_that_are_left() -> None:
    class Broken:
        def broadcast(self, *_: Any) -> Any:
            raise RuntimeError("Connection closed by peer")

    sender: Any = GlooSender.__new__(GlooSender)
    source: Any = Source()
    sender.source, sender.plan, sender.lane = source, streamed(source.manifest(), 1), Wire(Broken())  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="closed by peer"):
        sender.send()
    assert sender.source.gathered == ["embedding", "head"]


def test_a_gloo_sender_that_waits_for_an_engine_to_join_returns_once_it_is_called_back(listener: socket.socket) -> None:
    host, port = listener.getsockname()
    meeting = Rendezvous(name="publish-1", host=host, port=port, world_size=2)
    source: Any = Source()
    with ThreadPoolExecutor(1) as other:
        joining = other.submit(GlooSender, Gloo(deadline_s=60), source, meeting, listener)
        call_back(meeting)
        with pytest.raises(CalledBack, match="waited for the other members to join"):
            joining.result(20)


VALUES = {"embedding": torch.randn(5, 7), "norm": torch.randn(3, dtype=torch.float64), "bias": torch.arange(4), "head": torch.randn(300)}
WANTED = {"embedding": "bfloat16", "norm": "float32", "bias": "int64", "head": "float32"}


class Weights(Source):
    """Tensors of several types, some of which the engines take in another one."""

    def manifest(self) -> tuple[Entry, ...]:
        return tuple(Entry(name, dtype, tuple(VALUES[name].shape)) for name, dtype in WANTED.items())

    def live(self) -> Any:
        for name, tensor in VALUES.items():
            self.gathered.append(name)
            shown = tensor.clone()
            yield name, shown
            shown.zero_()  # it is right only until the next is asked for


def on_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker does not find the memory."""
    really, asked = lanes._mapped, iter((True, False))
    monkeypatch.setattr(lanes, "_mapped", lambda **there: really(**there) if next(asked) else None)


def without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr(lanes, "Exported", full)


WAYS = {"shared": lambda _: None, "one on another machine": on_another_machine, "a full /dev/shm": without_room}


@pytest.mark.parametrize(("way", "limit"), [("shared", 1), ("shared", 128), ("shared", 1 << 20), *((way, 128) for way in [*WAYS][1:])])
def test_every_engine_gets_the_bytes_whose_digests_the_gloo_sender_proves_in_every_publish(
    listener: socket.socket, limit: int, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    WAYS[way](monkeypatch)
    host, port = listener.getsockname()
    meeting = Rendezvous(name="publish-1", host=host, port=port, world_size=3)
    source: Any = Weights()
    plan = streamed(source.manifest(), limit)

    def receive(rank: int) -> list[dict[str, torch.Tensor]]:
        store = open_store(host, port, 3, 20)
        line = Line(store, meeting.name, 20)
        line.meet(3)
        group = open_gloo(store, meeting.name, host, rank, 3, 20)
        halves = accept(line, 2)
        assert bool(halves) == (way == "shared")
        room = TwoBuffers().room
        return [
            {
                name: tensor.clone()
                for bucket, buffer in (received(group, plan, halves) if halves else arriving(group, plan, room))
                for name, tensor in unpacked(buffer, bucket)
            }
            for _ in range(2)
        ]

    with ThreadPoolExecutor(2) as engines:
        receiving = [engines.submit(receive, rank) for rank in (1, 2)]
        sender = GlooSender(Gloo(deadline_s=20, bucket_bytes=limit), source, meeting, listener)
        for _ in range(2):
            sender.send()
        for engine in receiving:
            for arrived in engine.result(20):
                assert {name: digest(tensor) for name, tensor in arrived.items()} == source.proof
                for name, tensor in VALUES.items():
                    assert torch.equal(arrived[name], tensor.to(arrived[name].dtype))
        assert isinstance(sender.lane, SharedMemory) == (way == "shared")
        if isinstance(sender.lane, SharedMemory):
            assert sender.lane.memory.path is not None
            assert not sender.lane.memory.path.exists(), "nothing stays behind where all are killed"
        sender.close()
    assert source.gathered == 2 * list(VALUES)


@pytest.mark.parametrize("way", ["shared"])
def test_a_gloo_sender_whose_engine_breaks_in_a_bucket_gives_up_at_its_deadline_and_has_gathered_all(
    listener: socket.socket, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    WAYS[way](monkeypatch)
    host, port = listener.getsockname()
    meeting = Rendezvous(name="publish-1", host=host, port=port, world_size=2)
    source: Any = Weights()
    large = {name: tensor.repeat(1 << 14, *[1] * (tensor.dim() - 1)) for name, tensor in VALUES.items()}  # more than a socket buffers
    monkeypatch.setitem(globals(), "VALUES", large)
    plan, over = streamed(source.manifest(), 1), threading.Event()

    def receive() -> str:
        store = open_store(host, port, 2, 1)
        line = Line(store, meeting.name, 1)
        line.meet(2)
        group = open_gloo(store, meeting.name, host, 1, 2, 1)
        halves = accept(line, 1)
        for bucket, _ in received(group, plan, halves) if halves else arriving(group, plan, TwoBuffers().room):
            over.wait(20)  # it answers no more, and its connections stay open
            return bucket[0].name
        return ""

    with ThreadPoolExecutor(1) as engine:
        receiving = engine.submit(receive)
        sender = GlooSender(Gloo(deadline_s=1, bucket_bytes=1), source, meeting, listener)
        with pytest.raises(RuntimeError):
            sender.send()
        over.set()
        assert receiving.result(20) == "embedding"
    assert source.gathered == list(VALUES)
