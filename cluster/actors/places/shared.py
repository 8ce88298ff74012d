"""Where engines and ranks go that take turns on the same GPUs: an engine and the ranks beside its workers in one bundle.

Ray gives an actor whole GPUs or a fraction of one, and would put the fractions of several ranks onto the same GPU. So one small actor holds
all GPUs of a bundle. Engine and ranks ask Ray for none, and see the GPUs that are chosen here: the engine all of them, each rank one.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors.places.bundles import Bundle
from cluster.actors.places.groups import addresses, alive_nodes
from configs.arithmetic import counted
from configs.rules.engine import gpus_per_engine
from configs.schema import Config

# What is offloaded or sleeps in pinned host memory is large. torch would round each buffer up to a power of two: up to twice the memory.
PINNED = "pinned_max_round_threshold_mb:64"
# vLLM's sleep mode and CUDA IPC need memory that the allocator has not pieced together.
ALLOCATOR = f"expandable_segments:False,{PINNED}"
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")  # torch prefers the first, vLLM looks at the second


def shared_has_no_room(config: Config, wanted: Sequence[Bundle], nodes: Sequence[Bundle], kind: str) -> str:
    """The arithmetic of a run whose bundles do not fit on the nodes for lack of `kind`."""
    engines, workers, each = config.rollout.fewest_engines, gpus_per_engine(config), wanted[0][kind]
    there = sum(node.get(kind, 0) for node in nodes)
    listed = ", ".join(f"{node.get(kind, 0):g}" for node in nodes)
    ranks = f"{counted(workers, 'rank')} x learner.cpus_per_rank ({config.learner.cpus_per_rank:g})"
    why = f" (the larger of rollout.cpus_per_engine ({config.rollout.cpus_per_engine:g}) and {ranks})" if kind == "CPU" else ""
    lower = "rollout.vllm.tensor_parallel_size" if kind == "GPU" else "rollout.cpus_per_engine and learner.cpus_per_rank"
    return (
        f"with placement.share = true, rollout.engines ({engines}) x {each:g} {kind}{why} = {engines * each:g} {kind}s are needed, but "
        f"{counted(len(nodes), 'node')} with {there:g} {kind}s in all ({listed} each) cannot hold them: lower rollout.engines with "
        f"learner.ranks, or {lower}"
    )


class GpuHolder:
    """Holds the GPUs of one bundle for the length of a run."""

    def gpus(self) -> list[str]:
        """The GPUs as this node counts them."""
        return [str(gpu) for gpu in ray.get_gpu_ids()]


@dataclass(frozen=True, slots=True)
class SharedPlaces:
    """A reserved bundle for every engine, with the ranks beside its workers."""

    group: PlacementGroup
    order: list[int]  # the bundle of each engine: ranks of one node follow one another
    workers: int  # GPUs of an engine, and ranks beside it
    gpus: list[list[str]]  # of each engine; empty on CPU
    holders: list[Any]
    addresses: Sequence[str] = ()  # of the node of each engine

    @property
    def gpu(self) -> bool:
        return bool(self.gpus)

    @property
    def engines(self) -> int:
        """The number of engines, which stays: the ranks hold the other half of their places."""
        return len(self.order)

    def options(self, index: int, env: dict[str, str]) -> dict[str, Any]:
        """Options that put engine `index` on its GPUs."""
        return self._options(index, self.gpus[index] if self.gpus else [], env)

    def rank_options(self, rank: int, env: dict[str, str]) -> dict[str, Any]:
        """Options that put a rank beside a worker of its engine."""
        engine, worker = divmod(rank, self.workers)
        return self._options(engine, [self.gpus[engine][worker]] if self.gpus else [], env)

    def _options(self, engine: int, mine: list[str], env: dict[str, str]) -> dict[str, Any]:
        if mine:
            env = env | dict.fromkeys(ALLOCATOR_VARIABLES, ALLOCATOR) | {"CUDA_VISIBLE_DEVICES": ",".join(mine)}
            env |= {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}  # else Ray hides every GPU from an actor that asks for none
        bundle = self.order[engine]
        return {
            "num_cpus": 0,
            "num_gpus": 0,
            "max_restarts": 0,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=self.group, placement_group_bundle_index=bundle),
            "runtime_env": {"env_vars": env},
        }

    def nodes(self) -> list[str]:
        """The id of the node that holds each engine, then each rank."""
        homes = placement_group_table(self.group)["bundles_to_node_id"]
        engines = [str(homes[bundle]) for bundle in self.order]
        return engines + [home for home in engines for _ in range(self.workers)]

    async def open(self, index: int) -> bool:
        """False: a place that an engine has lost holds the ranks' memory, and there are no further ones."""
        return False

    async def close(self, index: int) -> None:
        """Nothing: the ranks beside the engine need the place."""

    def address_of(self, index: int) -> str | None:
        """The address of the node of engine `index`."""
        return self.addresses[index] if index < len(self.addresses) else None

    async def renew_ranks(self) -> bool:
        """Whether every node with ranks is still alive; places on shared GPUs never move."""
        return (await asyncio.to_thread(alive_nodes)).keys() >= set(self.nodes())

    def room(self) -> int:
        """0: no further engine finds ranks to take turns with."""
        return 0

    def most(self) -> int:
        """The engines that the run can ever have: those that it has."""
        return self.engines

    def give_back(self) -> None:
        """Free every bundle."""
        for holder in self.holders:
            ray.kill(holder)
        remove_placement_group(self.group)


def share_places(config: Config, group: PlacementGroup, gpu: bool) -> SharedPlaces:
    """The places in a reserved group, engines in the order of their nodes; TimeoutError if a bundle does not report its GPUs in time."""
    homes = placement_group_table(group)["bundles_to_node_id"]
    order = sorted(range(config.rollout.fewest_engines), key=lambda bundle: (str(homes[bundle]), bundle))
    workers, known = gpus_per_engine(config), addresses()
    there = [known[str(homes[bundle])] for bundle in order]
    if not gpu:
        return SharedPlaces(group, order, workers, [], [], there)
    kind: Any = ray.remote(GpuHolder)
    holders = [
        kind.options(
            num_cpus=0,
            num_gpus=workers,
            scheduling_strategy=PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=bundle),
        ).remote()
        for bundle in order
    ]
    deadline = float(config.run.deadline_s)
    try:
        gpus = ray.get([holder.gpus.remote() for holder in holders], timeout=deadline)
    except ray.exceptions.GetTimeoutError as error:
        remove_placement_group(group)
        raise TimeoutError(f"a shared bundle did not report its GPUs within run.deadline_s ({deadline:g} s)") from error
    return SharedPlaces(group, order, workers, gpus, holders, there)
