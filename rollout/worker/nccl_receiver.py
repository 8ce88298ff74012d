"""The engine's end of a transfer over NCCL: vLLM's own, in a group that can be called back."""

from dataclasses import dataclass

from vllm.distributed.weight_transfer.base import WeightTransferInitInfo
from vllm.distributed.weight_transfer.nccl_engine import NCCLWeightTransferEngine, NCCLWeightTransferUpdateInfo

from rollout.transfer.meeting import open_store
from rollout.transfer.nccl_group import NcclGroup
from rollout.transfer.recall import Line


@dataclass
class NcclInitInfo(WeightTransferInitInfo):
    """Where the learner's first rank serves the store, and the rank of this engine's first worker in the transfer group."""

    host: str
    port: int
    name: str
    rank_offset: int
    world_size: int
    buffers: int
    deadline_s: float


class RecallableNcclEngine(NCCLWeightTransferEngine):
    """Receives vLLM's packed broadcasts, and gives up once the publish is called back."""

    init_info_cls = NcclInitInfo  # type: ignore[assignment]
    group: NcclGroup | None = None

    def init_transfer_engine(self, init_info: NcclInitInfo) -> None:  # type: ignore[override]
        self.packed, self.packed_num_buffers = True, init_info.buffers
        rank = init_info.rank_offset + self.parallel_config.rank
        self.store = open_store(init_info.host, init_info.port, init_info.world_size, init_info.deadline_s)
        line = Line(self.store, init_info.name, init_info.deadline_s)
        self.group = NcclGroup(line, rank, init_info.world_size, self.device)
        self.model_update_group = self.group  # type: ignore[assignment]

    def receive_weights(self, update_info: NCCLWeightTransferUpdateInfo) -> None:
        assert self.group is not None, "an engine joins the transfer group before it receives"
        with self.group.recallable():
            super().receive_weights(update_info)

    def shutdown(self) -> None:
        self.group = None
        super().shutdown()
