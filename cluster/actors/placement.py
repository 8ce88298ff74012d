"""Where engines and ranks go: what they need, whether it fits, and the placement group that reserves it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.accelerators import NvidiaGPUAcceleratorManager
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors.shared_places import SharedPlaces, share_places, shared_bundles, shared_has_no_room
from configs.arithmetic import counted, gpus_per_engine
from configs.rules.engine import is_count, vllm_size
from configs.schema import Config
from configs.toml_writer import write_value

Bundle = dict[str, float]


def on_gpu() -> bool:
    """Whether the cluster has GPUs: then engines and ranks take them, else they run on CPUs."""
    return ray.cluster_resources().get("GPU", 0) > 0


def bundles(config: Config, gpu: bool) -> list[Bundle]:
    """One bundle an engine, then one a rank; where they share GPUs, one for both."""
    if config.placement.share:
        return shared_bundles(config, gpu)
    engine: Bundle = {"CPU": float(config.rollout.cpus_per_engine)}
    rank: Bundle = {"CPU": float(config.learner.cpus_per_rank)}
    if gpu:
        engine["GPU"] = float(gpus_per_engine(config))
        rank["GPU"] = 1.0
    return [dict(engine) for _ in range(config.rollout.engines)] + [dict(rank) for _ in range(config.learner.ranks)]


def refuse_what_cannot_fit(config: Config, nodes: list[Bundle]) -> None:
    """Raise ValueError, with the arithmetic, if engines and ranks do not fit on the nodes' free resources or cannot run there."""
    if not any(node.get("GPU", 0) > 0 for node in nodes):
        refuse_what_engines_on_cpus_cannot(config)
        if needed := list(needs_of_gpus(config)):
            raise ValueError("\n".join(needed))
    refuse_what_has_no_room(config, nodes)


def refuse_what_has_no_room(config: Config, nodes: list[Bundle]) -> None:
    """Raise ValueError, with the arithmetic, if engines and ranks do not fit on the nodes' free resources."""
    gpu = any(node.get("GPU", 0) > 0 for node in nodes)
    wanted = bundles(config, gpu)
    if fits(wanted, nodes):
        return
    lacking = "GPU" if gpu and not fits([{"GPU": bundle["GPU"]} for bundle in wanted], nodes) else "CPU"
    raise ValueError(_does_not_fit(config, wanted, nodes, lacking))


def needs_of_gpus(config: Config) -> Iterator[str]:
    """A line for each setting that has no meaning without GPUs."""
    if config.rollout.transfer == "nccl":
        yield 'rollout.transfer: got "nccl", which sends weights between GPUs, and there is none: use "auto" or "gloo"'
    if config.learner.attention == "flash_attention_2":
        yield 'learner.attention: got "flash_attention_2", whose kernels need a GPU, and there is none: use "sdpa"'


def refuse_what_engines_on_cpus_cannot(config: Config) -> None:
    """Raise ValueError for settings of `[rollout.vllm]` with which an engine without a GPU would die at its first batch or later."""
    vllm, context = config.rollout.vllm, config.context_tokens
    if vllm.get("enable_expert_parallel") and vllm_size(config, "tensor_parallel_size") > 1:
        # vLLM's expert kernel for CPUs cannot skip experts of another worker: it reads past its own weights, and the worker dies.
        given = write_value(vllm["enable_expert_parallel"])
        raise ValueError(
            f"rollout.vllm.enable_expert_parallel got {given} with rollout.vllm.tensor_parallel_size > 1 "
            "on a machine without GPUs, where vLLM cannot spread experts: remove it; tensor parallelism alone works here"
        )
    whole = "on a machine without GPUs, where vLLM must read every prompt whole (it cannot continue a seeded request after a split)"
    if vllm.get("enable_chunked_prefill"):
        raise ValueError(f"rollout.vllm.enable_chunked_prefill got {write_value(vllm['enable_chunked_prefill'])} {whole}: remove it")
    if vllm.get("long_prefill_token_threshold"):
        raise ValueError(
            f"rollout.vllm.long_prefill_token_threshold got {vllm['long_prefill_token_threshold']} {whole}: remove it, or use 0"
        )
    longest = max(context, int(vllm.get("max_model_len", 0)))
    for name in ("max_num_batched_tokens", "max_num_scheduled_tokens"):  # left out, vLLM takes at least the engine's context
        if name in vllm and not (is_count(room := vllm[name]) and room >= longest):
            raise ValueError(
                f"rollout.vllm.{name} got {room!r} {whole}, needed a whole number of at least {longest} (the engine's context): "
                f"use {longest}, or remove it"
            )


def fits(wanted: list[Bundle], nodes: list[Bundle]) -> bool:
    """Whether every bundle fits whole on a node: largest first, each on the node that it fills most."""
    free = [dict(node) for node in nodes]
    for bundle in sorted(wanted, key=_size, reverse=True):
        homes = [node for node in free if all(node.get(kind, 0) + 1e-9 >= n for kind, n in bundle.items())]
        if not homes:
            return False
        home = min(homes, key=_size)
        for kind, n in bundle.items():
            home[kind] -= n
    return True


def _size(resources: Bundle) -> tuple[float, float]:
    return resources.get("GPU", 0), resources.get("CPU", 0)


def _does_not_fit(config: Config, wanted: list[Bundle], nodes: list[Bundle], kind: str) -> str:
    if config.placement.share:
        return shared_has_no_room(config, wanted, nodes, kind)
    engine, rank = wanted[0], wanted[-1]
    engines, ranks = config.rollout.engines, config.learner.ranks
    total = sum(bundle[kind] for bundle in wanted)
    there = sum(node.get(kind, 0) for node in nodes)
    each = ", ".join(f"{node.get(kind, 0):g}" for node in nodes)
    return (
        f"rollout.engines ({engines}) x {engine[kind]:g} {kind} + learner.ranks ({ranks}) x {rank[kind]:g} {kind} = {total:g} {kind}s are "
        f"needed, but {counted(len(nodes), 'node')} with {there:g} {kind}s in all ({each} each) "
        f"cannot hold them: lower rollout.engines or learner.ranks"
        + (
            ", or rollout.vllm.tensor_parallel_size"
            if kind == "GPU"
            else ", or rollout.cpus_per_engine and learner.cpus_per_rank (fractions share a core)"
        )
    )


def cluster_nodes() -> list[Bundle]:
    """The resources of every node that is alive."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def local_nodes() -> list[Bundle]:
    """The resources that a Ray on this machine alone would have; starts nothing."""
    gpus = NvidiaGPUAcceleratorManager.get_current_node_num_accelerators()
    return [{"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}]


@dataclass(frozen=True, slots=True)
class Places:
    """A reserved bundle for every engine, then for every rank."""

    group: PlacementGroup
    bundles: list[Bundle]
    gpu: bool

    def options(self, index: int, env: dict[str, str]) -> dict[str, Any]:
        """Options that put an actor into its bundle; Ray never restarts it, since a fresh actor would have no weights."""
        bundle = self.bundles[index]
        return {
            "num_cpus": bundle["CPU"],
            "num_gpus": bundle.get("GPU", 0),
            "max_restarts": 0,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=self.group, placement_group_bundle_index=index),
            "runtime_env": {"env_vars": env},
        }

    def nodes(self) -> list[str]:
        """The id of the node that holds each bundle."""
        homes = placement_group_table(self.group)["bundles_to_node_id"]
        return [str(homes[index]) for index in range(len(self.bundles))]

    def give_back(self) -> None:
        """Free every bundle."""
        remove_placement_group(self.group)


def reserve(config: Config) -> Places | SharedPlaces:
    """Reserve every bundle at once; raises TimeoutError if other jobs hold the resources."""
    gpu = on_gpu()
    wanted = bundles(config, gpu)
    group = placement_group(wanted, strategy="PACK")
    ready, _ = ray.wait([group.ready()], timeout=float(config.run.deadline_s))
    if not ready:
        remove_placement_group(group)
        deadline = config.run.deadline_s
        raise TimeoutError(
            f"the cluster is large enough for this run, but other jobs use its resources: no placement within "
            f"run.deadline_s ({deadline} s); wait for those jobs, or raise it"
        )
    return share_places(config, group, gpu) if config.placement.share else Places(group, wanted, gpu)
