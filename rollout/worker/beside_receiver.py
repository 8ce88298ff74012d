"""The engine's end of a transfer through memory that it shares with the learner's rank on the same GPU.

vLLM's own `ipc` engine takes its handles as pickles through the engine's front. Here each worker asks the rank beside it, without pickle,
and a member that never answers is noticed at a deadline.
"""

from dataclasses import dataclass

import torch
from vllm.distributed.weight_transfer.base import WeightTransferInitInfo

from rollout.transfer.buckets import size_of, unpacked
from rollout.transfer.local_memory import map_buffer
from rollout.transfer.meeting import open_store
from rollout.transfer.pairs import Pair
from rollout.transfer.proof import buckets, manifest_of
from rollout.worker.weight_receiver import GlooUpdateInfo, GlooWeightTransferEngine


@dataclass
class BesideInitInfo(WeightTransferInitInfo):
    """Where the learner's first rank serves the store, and the rank beside this engine's first worker."""

    host: str
    port: int
    name: str
    beside: int
    world_size: int
    bucket_bytes: int
    deadline_s: float


class BesideWeightTransferEngine(GlooWeightTransferEngine):
    """Receives whole checkpoints, bucket by bucket, from the rank on this worker's GPU, and loads them as the gloo engine does."""

    init_info_cls = BesideInitInfo  # type: ignore[assignment]
    pair: Pair | None = None

    def init_transfer_engine(self, init_info: BesideInitInfo) -> None:  # type: ignore[override]
        rank = init_info.beside + self.parallel_config.rank
        self.store = open_store(init_info.host, init_info.port, init_info.world_size, init_info.deadline_s)
        self.bucket_bytes = init_info.bucket_bytes
        self.pair = Pair(self.store, init_info.name, rank, init_info.deadline_s)
        self.pair.join(init_info.world_size - 1)

    def receive_weights(self, update_info: GlooUpdateInfo) -> None:
        """Load every bucket that the rank puts into the shared buffer."""
        assert self.pair is not None, "an engine joins the transfer group before it receives"
        self.pair.begin()
        shared = map_buffer(self.pair.address(), self.device)
        manifest = manifest_of(zip(update_info.names, update_info.dtype_names, update_info.shapes, strict=True))
        self.loading.begin(manifest)
        for number, bucket in enumerate(buckets(manifest, self.bucket_bytes)):
            self.pair.hear("ready", number)
            buffer = shared[: size_of(bucket)]
            if self.loading.keeps:
                buffer = buffer.clone()  # the rank fills the buffer again
                if buffer.is_cuda:
                    torch.cuda.synchronize(buffer.device)
                self.pair.say("done", number)
                self.loading.load(unpacked(buffer, bucket))
            else:
                self.loading.load(unpacked(buffer, bucket))
                self.pair.say("done", number)
            del buffer
        del shared
        self.pair.say("closed")

    def shutdown(self) -> None:
        self.pair = None
        super().shutdown()
