"""The learner's end of a transfer by vLLM's own backends; vLLM itself is not imported."""

import importlib
import socket
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from learner.weights.sender import open_sender
from rollout.transfer import free_socket
from rollout.transport import Nccl, Rendezvous

VLLM = {
    "": (),
    ".distributed": (),
    ".distributed.weight_transfer": (),
    ".distributed.weight_transfer.base": ("ParamMeta", "WeightSource"),
    ".distributed.weight_transfer.factory": ("WeightTransferTrainerFactory",),
    ".distributed.weight_transfer.nccl_engine": ("NCCLTrainerInitInfo",),
}


@pytest.fixture
def listener():
    with free_socket("127.0.0.1") as listening:
        yield listening


def test_the_port_is_held_until_vllm_is_imported_and_free_when_it_is_to_be_bound(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = listener.getsockname()

    class Imported(ModuleType):
        """Says how the listener stood when the class was imported, and when it was called."""

        @property
        def NcclSender(self) -> Any:
            held = listener.fileno() != -1

            def bind(source: Any, meeting: Rendezvous) -> SimpleNamespace:
                with socket.create_server((meeting.host, meeting.port)):
                    return SimpleNamespace(held_at_import=held)

            return bind

    monkeypatch.setitem(sys.modules, "learner.weights.nccl", Imported("learner.weights.nccl"))
    source: Any = None
    sender: Any = open_sender(Nccl(), source, Rendezvous(name="publish-1", host=host, port=port, world_size=2), 0, listener)
    assert sender.held_at_import


@pytest.fixture
def nccl(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Our module, with nothing behind the names that it imports from vLLM."""
    for place, names in VLLM.items():
        module: Any = ModuleType(f"vllm{place}")
        for name in names:
            setattr(module, name, type(name, (), {}))
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(sys.modules, "learner.weights.nccl", ModuleType("to be forgotten afterwards"))
    del sys.modules["learner.weights.nccl"]
    return importlib.import_module("learner.weights.nccl")


def test_a_rank_works_on_its_own_stream_after_vllm_has_left_it_on_another(nccl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    streams, seen = ["default"], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: streams[-1])
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)

    class Engine:
        def send_weights(self) -> None:
            seen.append(streams[-1])
            streams.append("vLLM's, while it sends")
            raise RuntimeError("NCCL error")

    def join(init: Any, **_: Any) -> Engine:
        streams.append("vLLM's own")
        return Engine()

    monkeypatch.setattr(nccl, "NCCLTrainerInitInfo", lambda *_, **__: None)
    monkeypatch.setattr(nccl.WeightTransferTrainerFactory, "trainer_init", join, raising=False)
    sender = nccl.NcclSender(None, Rendezvous(name="publish-1", host="127.0.0.1", port=1, world_size=2))
    assert streams[-1] == "default"
    with pytest.raises(RuntimeError, match="NCCL error"):
        sender.send()
    assert (seen, streams[-1]) == (["default"], "default")


def test_a_sender_that_closes_destroys_its_communicator(nccl: Any) -> None:
    sender_class = nccl.NcclSender
    said: list[str] = []
    for group in (SimpleNamespace(destroy=lambda: said.append("destroy")), None):
        sender = sender_class.__new__(sender_class)
        sender.engine = SimpleNamespace(model_update_group=group, shutdown=lambda: said.append("shutdown"))
        sender.close()
    assert said == ["destroy", "shutdown", "shutdown"]
