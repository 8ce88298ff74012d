"""Sending with vLLM's own trainer engines: NCCL between GPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from vllm.distributed.weight_transfer.base import ParamMeta, WeightSource
from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory
from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo

from learner.weights.source import ZeroWeightSource
from rollout.transfer import torch_dtype
from rollout.transport import Rendezvous


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

    def metadata(self) -> list[ParamMeta]:
        return [ParamMeta(entry.name, torch_dtype(entry.dtype), entry.shape) for entry in self.source.manifest()]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in self.source:
            if tensor.is_cuda:
                # vLLM packs on streams in turn: a tensor's memory may be written again only when this one has read it.
                tensor.record_stream(torch.cuda.current_stream())
            yield name, tensor


@contextmanager
def same_stream() -> Iterator[None]:
    """Give this thread back the stream on which it worked before.

    vLLM's communicator moves the thread to a stream of its own and leaves it there. DeepSpeed orders its work by torch's default stream:
    on another one this rank would gather weights before an update has written them.
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

    def __init__(self, source: ZeroWeightSource, meeting: Rendezvous) -> None:
        init = NCCLTrainerInitInfo(meeting.host, meeting.port, meeting.world_size, rank=0, packed_num_buffers=meeting.buffers)
        with same_stream():
            # vLLM's factory declares the base class, which has no `model_update_group`.
            self.engine: Any = WeightTransferTrainerFactory.trainer_init(init, client=DrivenElsewhere(), source=AsVllmSource(source))

    def send(self) -> None:
        with same_stream():
            self.engine.send_weights()

    def close(self) -> None:
        group: Any = self.engine.model_update_group
        if group is not None:
            group.destroy()  # vLLM's own shutdown only drops the reference; NCCL would keep its buffers and threads
        self.engine.shutdown()
