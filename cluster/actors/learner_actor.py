"""A learner rank as a Ray actor: it fetches its responses, learns, sends weights and saves."""

import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from cluster.actors.learners import Shared
from cluster.actors.places.device import refuse_other_builds
from cluster.actors.process import NO_ENV, Env, find_own_programs, freeze_gc, pause_gc, send_output_to, take
from cluster.record.capsules.write import write_rank
from configs.schema import Config
from learner.batch.row import Place
from rollout.delta.moved import RankPatch
from rollout.transfer.proof import Manifest, Proof
from rollout.transfer.transport import PATIENCE, Rendezvous, Transport
from rollout.types import Recorded, Sampled, SampledGroup
from rollout.window.scored import Packed, unpacked


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A rank's responses in Ray's object store. A node fetches a large object once for all its ranks; the driver sends small ones."""

    prompts: Sequence[NDArray[np.int32]]  # [P] each, of the step's groups
    tokens: Mapping[Place, ray.ObjectRef[Sampled | SampledGroup]]  # of this rank's responses, as are the experts
    recorded: Mapping[Place, ray.ObjectRef[Recorded]]
    get: Callable[[Sequence[Any]], Sequence[Any]]

    def prompt(self, group: int) -> NDArray[np.int32]:
        return self.prompts[group]

    def sampled(self, places: Sequence[Place]) -> Sequence[Sampled]:
        # A group that travels whole is one object for all its places.
        named = {id(reference): reference for reference in map(self.tokens.__getitem__, places)}
        found = dict(zip(named, self.get(list(named.values())), strict=True))
        return [_member(found[id(self.tokens[place])], place) for place in places]

    def experts(self, places: Sequence[Place]) -> Sequence[Recorded]:
        return self.get([self.recorded[place] for place in places])


def _member(found: Sampled | SampledGroup, place: Place) -> Sampled:
    return found.responses[place[1]] if isinstance(found, SampledGroup) else found


GROUPS = {"ping": 1, "background": 1}  # threads beside the one that does all other work; Ray runs the methods of a group on them


class LearnerActor:
    """One rank in its own process. Methods are called on all ranks at once, except `address`, `expert_load` and `ping`."""

    def __init__(self, config: Config, rank: int, *, gpu: bool = False, env: Env = NO_ENV) -> None:
        """`env`: variables that Ray has not set for this process."""
        take(env)
        pause_gc()
        send_output_to(config.run_dir, f"learner-{rank}")
        refuse_other_builds(gpu)
        find_own_programs()
        self.config, self.rank, self.gpu = config, rank, gpu
        self.host = ray.util.get_node_ip_address()
        self._listener: socket.socket | None = None
        self._sender: Any = None
        self._prepared = False  # whether the memory of snapshots is being taken, which only training needs

    def address(self) -> tuple[str, int]:
        """A port of this node, reserved until the group that meets there has formed."""
        from rollout.transfer.meeting import free_socket

        self._listener = free_socket(self.host)
        return self.host, self._listener.getsockname()[1]

    @ray.method(concurrency_group="ping")
    def ping(self) -> None:
        """Answer at once, also while the rank works: a process that is stopped does not."""

    def node(self) -> str:
        """The address of the rank's node."""
        return self.host

    def start(self, host: str, port: int) -> str:
        """Join the other ranks and load the model; returns the address of the rank's node."""
        import torch

        from cluster.models.hub import fetch_to_this_node
        from learner.learner import Learner
        from learner.model.parking import Parking
        from learner.process_group import join_ranks
        from learner.state.rank_state import RankState
        from learner.weights.delta import Deltas
        from learner.weights.source import ZeroWeightSource

        fetch_to_this_node(self.config)
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))  # which Ray sets where the run does not; MKL then takes no fewer
        world = self.config.learner.ranks
        deadline = float(self.config.run.deadline_s)
        device = join_ranks(
            rank=self.rank, world=world, host=host, port=port, deadline_s=deadline, listener=self._take_listener(), gpu=self.gpu
        )
        self.learner = Learner(self.config, rank=self.rank, world=world, device=device)
        # Not an attribute of the learner, whose storages are parked: a snapshot stays while it is written.
        self.state = RankState(self.learner)
        self.parking = Parking(self.learner, device, self.learner.zero.scratch)
        self.source = ZeroWeightSource(self.learner.zero, getattr(torch, self.config.engine_dtype), prove=self.rank == 0)
        self.exported = ZeroWeightSource(self.learner.zero, getattr(torch, self.config.model.dtype), prove=False)
        self.deltas = Deltas(self.source) if self.config.rollout.full_every > 1 else None
        freeze_gc()
        return self.host

    def park(self) -> None:
        """Give this rank's device memory to the engine on the same device."""
        self.parking.park()

    def unpark(self) -> None:
        """Take the memory again, with everything that was in it. An engine that was killed frees its own a moment later."""
        self.parking.unpark(patience_s=PATIENCE * float(self.config.run.deadline_s))

    def manifest(self) -> Manifest:
        """The tensors of a publish in sending order."""
        return self.source.manifest()

    def room(self) -> int:
        """Bytes that this rank can still take of its GPU."""
        from rollout.transfer.meeting import free_bytes

        return free_bytes()

    def join_transfer(self, transport: Transport, meeting: Rendezvous) -> None:
        """Meet the engines in a transfer group; an earlier group is left first."""
        from learner.weights.sender import open_sender

        left, self._sender = self._sender, None  # a join that fails leaves no group at all
        if left is not None:
            left.close()
        self._sender = open_sender(transport, self.source, meeting, self.rank, self._take_listener())

    def send(self) -> Proof:
        """Send the weights; returns the digests of what was sent, empty on ranks that only stand by."""
        self._sender.send()
        if self.deltas is not None:
            self.deltas.keep()
        return self.source.proof

    def patch(self) -> RankPatch:
        """What changed in this rank's share since the last publish, as an object that engines fetch."""
        assert self.deltas is not None, "a run that publishes whole weights asked for changes"
        return self.deltas.patch().given(self.put)

    def step(
        self,
        shared: Shared,
        tokens: Mapping[Place, ray.ObjectRef[Sampled | SampledGroup]] | Packed,
        recorded: Mapping[Place, ray.ObjectRef[Recorded]],
    ) -> dict[str, float]:
        """Learn one step; `tokens` and `recorded` refer to the responses that the step's plan deals to this rank."""
        if not self._prepared:
            self.state.prepare()
            self._prepared = True
        summaries, prompts = shared
        return self.learner.step(unpacked(summaries), ObjectStore(prompts, unpacked(tokens), recorded, self.get))

    def get(self, references: Sequence[Any]) -> Sequence[Any]:
        """What objects in Ray's object store hold, fetched within the run's deadline; others have come along."""
        objects = [reference for reference in references if not isinstance(reference, Packed)]
        fetched = iter(ray.get(objects, timeout=float(self.config.run.deadline_s)) if objects else ())
        return [unpacked(reference) if isinstance(reference, Packed) else next(fetched) for reference in references]

    def put(self, value: Any) -> Any:
        """A reference to an object in Ray's object store, which this rank owns."""
        return ray.put(value)

    def expert_load(self) -> Any:
        """The tokens that each expert took in the last step [L, E]; None for a dense model."""
        return self.learner.expert_load()

    def capsule(self, folder: str, room: int) -> dict[str, Any]:
        """Write what this rank learned in the last step; `room` bytes of the disk stay free."""
        trace = self.learner.trace
        assert trace is not None, "a run that keeps no capsules asked for one"
        return write_rank(Path(folder), self.rank, self.config.learner.ranks, trace, room)

    def snapshot(self) -> None:
        """Copy this rank's state into host memory; training waits only for this."""
        self.state.snapshot()

    @ray.method(concurrency_group="background")
    def write(self, folder: str) -> dict[str, dict[str, int | str]]:
        """Write the newest snapshot below `folder`, while `step` runs; bytes and hash of each file, by its name below it."""
        written: dict[str, dict[str, int | str]] = self.state.write(Path(folder))
        return written

    def load(self, folder: str) -> None:
        """Restore a checkpoint of any number of ranks."""
        self.state.load(Path(folder))

    def load_weights(self, folder: str, optimizer: bool) -> None:
        self.state.load_weights(Path(folder), optimizer=optimizer)

    def scale_rate(self, share: float) -> None:
        """Learn with this share of the learning rate that the config asks for."""
        self.learner.rate = share

    def export(self, folder: str) -> None:
        """Write the policy as a Hugging Face folder."""
        from learner.weights.export import export

        export(self.exported, self.config, Path(folder), writes=self.rank == 0)

    def _take_listener(self) -> socket.socket | None:
        listener, self._listener = self._listener, None
        return listener
