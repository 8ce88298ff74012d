"""What a run cannot do on the nodes that there are: too few GPUs or cores, or settings that need GPUs."""

from collections.abc import Iterator, Sequence

from cluster.actors.places.bundles import Bundle, Layout, layouts
from cluster.actors.places.device import on_gpu, refuse_device
from cluster.actors.places.plan import engines_that_fit, fits, numbered
from cluster.actors.places.shared import shared_has_no_room
from configs.arithmetic import counted
from configs.rules.engine import is_count, vllm_size
from configs.schema import Config
from configs.toml_writer import write_value


def refuse_what_cannot_fit(config: Config, nodes: Sequence[Bundle]) -> None:
    """Raise ValueError if the run has no device, if engines and ranks do not fit on the nodes, or if they cannot run there."""
    refuse_device(config, nodes)
    if not on_gpu(config, nodes):
        refuse_what_engines_on_cpus_cannot(config)
        if needed := list(needs_of_gpus(config)):
            raise ValueError("\n".join(needed))
    room_for(config, nodes)


def room_for(config: Config, nodes: Sequence[Bundle]) -> Layout:
    """The best layout that the nodes hold, with the fewest engines; ValueError, with the arithmetic, if engines and ranks do not fit."""
    gpu = on_gpu(config, nodes)
    tried: list[Layout] = []
    for layout in layouts(config, gpu):
        if fits(layout.bundles, nodes):
            return layout
        tried.append(layout)
    lacking = "GPU" if gpu and not fits([{"GPU": bundle["GPU"]} for bundle in tried[-1].bundles], nodes) else "CPU"
    if config.placement.share:
        raise ValueError(shared_has_no_room(config, tried[-1].bundles, nodes, lacking))
    raise ValueError(_does_not_fit(config, tried[-1], nodes, lacking))


def engines_at_start(config: Config, nodes: Sequence[Bundle]) -> int:
    """The engines with which a run starts on empty nodes: as many as `rollout.engines` allows and as fit, the fewest where none do."""
    if config.placement.share:
        return config.rollout.fewest_engines
    found = (engines_that_fit(layout, numbered(nodes), config.rollout.most_engines) for layout in layouts(config, on_gpu(config, nodes)))
    return next((count for count in found if count), config.rollout.fewest_engines)


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


def _does_not_fit(config: Config, layout: Layout, nodes: Sequence[Bundle], kind: str) -> str:
    engine, rank = layout.needs[0], layout.needs[-1]
    engines, ranks = layout.engines, len(layout.needs) - layout.engines
    total = sum(need[kind] for need in layout.needs)
    there = sum(node.get(kind, 0) for node in nodes)
    each = ", ".join(f"{node.get(kind, 0):g}" for node in nodes)
    shared = engines * engine[kind]  # GPUs of the engines, a rank on each
    turns = f"; or let both take turns on the same GPUs: placement.share = true, with learner.ranks = {shared:g}" if shared <= there else ""
    fewest = "rollout.engines" if isinstance(config.rollout.engines, int) else "rollout.engines.min"
    return (
        f"{fewest} ({engines}) x {engine[kind]:g} {kind} + learner.ranks ({ranks}) x {rank[kind]:g} {kind} = {total:g} {kind}s are "
        f"needed, but {counted(len(nodes), 'node')} with {there:g} {kind}{'' if there == 1 else 's'} in all ({each} each) "
        f"cannot hold them: lower {fewest} or learner.ranks"
        + (
            f", or rollout.vllm.tensor_parallel_size{turns}"
            if kind == "GPU"
            else ", or rollout.cpus_per_engine and learner.cpus_per_rank (fractions share a core)"
        )
    )
