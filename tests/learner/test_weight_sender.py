"""The learner's end of a transfer; vLLM itself is not imported."""

import importlib
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from learner.weights.sender import GlooSender, open_sender
from rollout import lanes
from rollout.buckets import TwoBuffers, arriving, streamed, unpacked
from rollout.digest import digest
from rollout.lanes import SharedMemory, Wire, accept, received
from rollout.proof import Entry
from rollout.recall import CalledBack, Line, call_back
from rollout.transfer import free_socket, open_gloo, open_store
from rollout.transport import Gloo, Nccl, Rendezvous

VLLM = {
    "": (),
    ".distributed": (),
    ".distributed.weight_transfer": (),
    ".distributed.weight_transfer.base": ("ParamMeta", "WeightSource"),
    ".distributed.weight_transfer.nccl_engine": ("NCCLTrainerWeightTransferEngine",),
}


@pytest.fixture
def listener():
    with free_socket("127.0.0.1") as listening:
        yield listening


def test_the_port_is_held_while_vllm_is_imported_and_given_to_the_sender(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    host, port = listener.getsockname()

    class Imported(ModuleType):
        """Says how the listener stood when the class was imported."""

        @property
        def NcclSender(self) -> Any:
            held = listener.fileno() != -1
            return lambda transport, source, meeting, given: SimpleNamespace(held_at_import=held, given=given)

    monkeypatch.setitem(sys.modules, "learner.weights.nccl", Imported("learner.weights.nccl"))
    source: Any = None
    meeting = Rendezvous(name="publish-1", host=host, port=port, world_size=2)
    sender: Any = open_sender(Nccl(deadline_s=1), source, meeting, 0, listener)
    assert sender.held_at_import
    assert sender.given is listener


@pytest.fixture
def nccl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our module, with nothing behind the names that it imports from vLLM, and a toy for the group."""
    for place, names in VLLM.items():
        module: Any = ModuleType(f"vllm{place}")
        for name in names:
            setattr(module, name, type(name, (), {}))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    group: Any = ModuleType("rollout.nccl_group")
    group.NcclGroup = object
    monkeypatch.setitem(sys.modules, "rollout.nccl_group", group)
    monkeypatch.setitem(sys.modules, "learner.weights.nccl", ModuleType("to be forgotten afterwards"))
    del sys.modules["learner.weights.nccl"]
    return importlib.import_module("learner.weights.nccl")


class Source:
    """Two tensors, gathered one after the other by all ranks."""

    def __init__(self) -> None:
        self.gathered: list[str] = []
        self.device = torch.device("cpu")

    def manifest(self) -> tuple[Entry, ...]:
        return tuple(Entry(name, "float32", (2,)) for name in ("embedding", "head"))

    def live(self) -> Any:
        return iter(self)

    def __iter__(self) -> Any:
        for entry in self.manifest():
            self.gathered.append(entry.name)
            yield entry.name, torch.zeros(2)


class Group:
    """Joins and leaves at once."""

    def __init__(self, *_: Any) -> None:
        self.destroyed = False

    def recallable(self) -> Any:
        return nullcontext()

    def destroy(self) -> None:
        self.destroyed = True


def sender_of(nccl: Any, monkeypatch: pytest.MonkeyPatch, send: Any, join: Any = lambda: None) -> Any:
    """A sender whose engine sends by calling `send` with the source."""

    class Engine:
        def __init__(self, *, source: Any, **_: Any) -> None:
            self.source = source

        def send_weights(self) -> None:
            send(self.source)

        def shutdown(self) -> None: ...

    def open_group(*_: Any) -> Group:
        join()
        return Group()

    monkeypatch.setattr(nccl, "NCCLTrainerWeightTransferEngine", Engine)
    monkeypatch.setattr(nccl, "NcclGroup", open_group)
    monkeypatch.setattr(nccl, "Line", lambda *_: None)
    monkeypatch.setattr(nccl, "open_store", lambda *_: None)
    meeting = Rendezvous(name="publish-1", host="127.0.0.1", port=1, world_size=2)
    return nccl.NcclSender(Nccl(deadline_s=1), Source(), meeting, None)


def test_a_rank_works_on_its_own_stream_after_vllm_has_left_it_on_another(nccl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    streams, seen = ["default"], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)

    def send(source: Any) -> None:
        seen.append(streams[-1])
        streams.append("vLLM's, while it sends")
        raise RuntimeError("NCCL error")

    sender = sender_of(nccl, monkeypatch, send, join=lambda: streams.append("vLLM's own"))
    assert streams[-1] == "default"
    with pytest.raises(RuntimeError, match="NCCL error"):
        sender.send()
    assert (seen, streams[-1]) == (["default"], "default")


@pytest.mark.parametrize("tensors", [0, 1, 2])
def test_a_sender_that_is_called_back_takes_part_in_the_gathers_that_are_left(
    nccl: Any, monkeypatch: pytest.MonkeyPatch, tensors: int
) -> None:
    def send(source: Any) -> None:
        pairs = iter(source)
        for _ in range(tensors):
            next(pairs)
        raise RuntimeError("called back")

    sender = sender_of(nccl, monkeypatch, send)
    with pytest.raises(RuntimeError, match="called back"):
        sender.send()
    # Before its first gather a rank that fails has not begun the pass that the others wait in.
    assert sender.source.source.gathered == ["embedding", "head"]


def test_a_sender_that_closes_destroys_its_communicator(nccl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = sender_of(nccl, monkeypatch, lambda source: None)
    sender.close()
    assert sender.group.destroyed


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
