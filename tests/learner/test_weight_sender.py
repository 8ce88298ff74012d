"""The learner's end of a transfer; vLLM itself is not imported."""

import importlib
import socket
import sys
from contextlib import nullcontext
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from learner.weights.sender import open_sender
from rollout.transfer.meeting import free_socket
from rollout.transfer.transport import Nccl, Rendezvous
from tests.toys.weight_source import Source

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
    group: Any = ModuleType("rollout.transfer.nccl_group")
    group.NcclGroup = object
    monkeypatch.setitem(sys.modules, "rollout.transfer.nccl_group", group)
    monkeypatch.setitem(sys.modules, "learner.weights.nccl", ModuleType("to be forgotten afterwards"))
    del sys.modules["learner.weights.nccl"]
    return importlib.import_module("learner.weights.nccl")


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
