"""How weights travel from the learner to the engines: one class for each transport, and where its two ends meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from configs.schema import Config
from rollout.transfer.proof import Manifest

BUCKET_BYTES = 1 << 28
STREAMED_BYTES = 1 << 22  # of a bucket where members work on one while the next is under way: many buckets overlap more
PACKED_BYTES = 1 << 30  # that fill a packed chunk: vLLM's default
# A member of an exchange gives up after this share of run.deadline_s: a healthy member must report its failure before it is late itself.
PATIENCE = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendezvous:
    """Where one transfer group meets. Rank 0 is the learner's first rank; the workers of the engines follow."""

    name: str  # different for every group of a run
    host: str  # rank 0 listens there
    port: int
    world_size: int  # rank 0 and every worker of every engine
    buffers: int = 1  # packed chunks that are under way at once; both ends have the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """One engine's place in a transfer group."""

    rendezvous: Rendezvous
    rank_offset: int  # rank of the engine's first worker; its other workers have the next ranks
    beside: int = 0  # the learner's rank on the GPU of the engine's first worker, where GPUs are shared; the next ranks follow


class Transport(Protocol):
    """One way for weights to travel, with its settings.

    A new one is a class here and a row in TRANSPORTS, a name for `rollout.transfer`, and a sender with a row in
    `learner.weights.sender`. The engines' end is vLLM's own, or is registered in `rollout.worker.weight_receiver`.
    """

    backend: ClassVar[str]  # vLLM's name of the engines' end
    packs: ClassVar[bool]  # whether chunks are packed in the memory that engines and ranks compute in

    @classmethod
    def of(cls, config: Config) -> Self:
        """The transport with the settings of a run."""

    @property
    def deadline_s(self) -> float:
        """Seconds after which a member gives up its wait by itself, also where no call reaches it."""

    def init_info(self, seat: Seat) -> dict[str, Any]:
        """What vLLM's end needs to join the group, under vLLM's own keys."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gloo:
    """Broadcasts between CPUs. Collectives have a deadline, so the members of a broken group can form another."""

    backend: ClassVar[str] = "gloo"
    packs: ClassVar[bool] = False

    deadline_s: float
    bucket_bytes: int = STREAMED_BYTES

    @classmethod
    def of(cls, config: Config) -> Self:
        """Gives up within run.deadline_s."""
        return cls(deadline_s=PATIENCE * float(config.run.deadline_s))

    def init_info(self, seat: Seat) -> dict[str, Any]:
        """The fields of `rollout.worker.weight_receiver.GlooInitInfo`."""
        meeting = seat.rendezvous
        return {
            "host": meeting.host,
            "port": meeting.port,
            "world_size": meeting.world_size,
            "name": meeting.name,
            "rank_offset": seat.rank_offset,
            "bucket_bytes": self.bucket_bytes,
            "deadline_s": self.deadline_s,
            "bind": meeting.host if meeting.host == "127.0.0.1" else "",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Nccl:
    """Broadcasts between GPUs. NCCL waits for a dead member forever, so each member aborts its communicator once it is called back."""

    backend: ClassVar[str] = "recallable_nccl"  # our own end; vLLM's "nccl" blocks
    packs: ClassVar[bool] = True

    deadline_s: float

    @classmethod
    def of(cls, config: Config) -> Self:
        """Gives up within run.deadline_s."""
        return cls(deadline_s=PATIENCE * float(config.run.deadline_s))

    def init_info(self, seat: Seat) -> dict[str, Any]:
        """The fields of `rollout.worker.nccl_receiver.NcclInitInfo`."""
        meeting = seat.rendezvous
        return {
            "host": meeting.host,
            "port": meeting.port,
            "name": meeting.name,
            "rank_offset": seat.rank_offset,
            "world_size": meeting.world_size,
            "buffers": meeting.buffers,
            "deadline_s": self.deadline_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ipc:
    """Memory that a rank and the worker beside it share: CUDA IPC on a GPU, shared memory on CPU. Every wait has a deadline."""

    backend: ClassVar[str] = "beside"  # our own end; vLLM's "ipc" needs pickled handles
    packs: ClassVar[bool] = False

    deadline_s: float
    bucket_bytes: int = BUCKET_BYTES

    @classmethod
    def of(cls, config: Config) -> Self:
        """Gives up within run.deadline_s."""
        return cls(deadline_s=PATIENCE * float(config.run.deadline_s))

    def init_info(self, seat: Seat) -> dict[str, Any]:
        """The fields of `rollout.worker.beside_receiver.BesideInitInfo`."""
        meeting = seat.rendezvous
        return {
            "host": meeting.host,
            "port": meeting.port,
            "world_size": meeting.world_size,
            "name": meeting.name,
            "beside": seat.beside,
            "bucket_bytes": self.bucket_bytes,
            "deadline_s": self.deadline_s,
        }


def packed_buffers(manifest: Manifest, room: int) -> int:
    """How many packed chunks a publish has under way at once: 2 to overlap sending and loading, if a GPU with `room` bytes can hold them.

    A chunk ends with the tensor that fills it. While n are under way, vLLM makes room for the next: n + 1 are there at once.
    """
    largest = max((entry.nbytes for entry in manifest), default=0)
    chunk = min(PACKED_BYTES + largest, sum(entry.nbytes for entry in manifest))
    return 2 if 3 * chunk <= room else 1


TRANSPORTS: Mapping[str, type[Transport]] = {"gloo": Gloo, "nccl": Nccl, "ipc": Ipc}


def choose_transport(config: Config, *, gpu: bool) -> Transport:
    """The transport that rollout.transfer names; "auto" is ipc on shared GPUs, nccl on GPUs of their own, else gloo."""
    name = config.rollout.transfer
    on_gpus = "ipc" if config.placement.share else "nccl"
    return TRANSPORTS[(on_gpus if gpu else "gloo") if name == "auto" else name].of(config)
