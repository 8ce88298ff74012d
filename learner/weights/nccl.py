"""Sending with vLLM's own trainer engine: NCCL between GPUs, in a group that can be called back."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerWeightTransferEngine

from learner.weights.source import Tensors, ZeroWeightSource
from rollout.transfer.meeting import open_store, torch_dtype
from rollout.transfer.nccl_group import NcclGroup
from rollout.transfer.recall import Line
from rollout.transfer.transport import Nccl, Rendezvous


class DrivenElsewhere:
    """A client that calls no inference engine: the driver calls them at the same time."""

    def init_weight_transfer_engine(self, init_info: dict[str, Any]) -> None: ...
    def start_weight_update(self) -> None: ...
    def update_weights(self, update_info: Any) -> None: ...
    def finish_weight_update(self, weight_version: str | None = None) -> None: ...


class AsVllmSource(WeightSource):
    """Our source as vLLM's trainer engines expect one."""

    def __init__(self, source: ZeroWeightSource) -> None:
        self.source = source
        self.pairs: Tensors | None = None  # of the pass under way

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(entry.name, torch_dtype(entry.dtype), entry.shape) for entry in self.source.manifest()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        self.pairs = iter(self.source)
        for name, tensor in self.pairs:
            if tensor.is_cuda:
                # vLLM packs on streams in turn: a tensor's memory may be written again only when this one has read it.
                tensor.record_stream(torch.cuda.current_stream())
            yield name, tensor

    def finish(self) -> None:
        """Take part in the gathers that a failed pass has left out: the other ranks stand in them."""
        for _ in self.source if self.pairs is None else self.pairs:
            pass
        self.pairs = None


@contextmanager
def same_stream() -> Iterator[None]:
    """Give this thread back the stream on which it worked before.

    vLLM moves a thread that asks for its stream to a stream of its own and leaves it there. DeepSpeed orders its work by torch's default
    stream: on another one this rank would gather weights before an update has written them.
    """
    if not torch.cuda.is_available():
        yield
        return
    before = torch.cuda.current_stream()
    try:
        yield
    finally:
        torch.cuda.set_stream(before)


class NcclSender:
    """Rank 0 of an NCCL transfer group."""

    def __init__(self, transport: Nccl, source: ZeroWeightSource, meeting: Rendezvous, listener: socket.socket) -> None:
        self.source = AsVllmSource(source)
        self.store = open_store(meeting.host, meeting.port, meeting.world_size, transport.deadline_s, listener)
        line = Line(self.store, meeting.name, transport.deadline_s)
        with same_stream():
            self.group = NcclGroup(line, 0, meeting.world_size, source.device)
        self.engine = NCCLTrainerWeightTransferEngine(
            client=DrivenElsewhere(), source=self.source, packed=True, packed_num_buffers=meeting.buffers
        )
        self.engine.model_update_group = self.group  # type: ignore[assignment]

    def send(self) -> None:
        try:
            with same_stream(), self.group.recallable():
                self.engine.send_weights()
        finally:
            self.source.finish()

    def close(self) -> None:
        self.group.destroy()  # vLLM's own shutdown only drops the reference; NCCL would keep its buffers and threads
        self.engine.shutdown()
