"""What this machine cannot run of a config. With RAY_ADDRESS the run goes to a cluster, whose nodes are not known here."""

import math

from cluster.actors.placement import local_nodes, needs_of_gpus, refuse_what_engines_on_cpus_cannot, refuse_what_has_no_room
from cluster.actors.session import joins_cluster
from cluster.commands.checks.attention import missing_package
from cluster.commands.checks.engine import Model, cpu_problems
from cluster.commands.checks.findings import Findings
from configs.schema import Config
from configs.shared_gpu import refuse_engines_beside_ranks


def check_machine(config: Config, model: Model, found: Findings) -> None:
    """Add what would be refused at the start: a problem if the run would start here, else a note. `model` may be empty."""
    without = Findings()
    with without.collect():
        refuse_what_engines_on_cpus_cannot(config)
    without.problems += [*needs_of_gpus(config), *(cpu_problems(config, model) if model else ())]
    missing = [problem] if (problem := missing_package(config)) else []
    if joins_cluster():
        found.notes += [f"on nodes without GPUs this would be refused: {problem}" for problem in without.problems]
        found.notes += missing
        return
    nodes = local_nodes()
    on_gpus = any(node.get("GPU", 0) > 0 for node in nodes)
    before = len(found.problems)
    found.problems += missing if on_gpus else without.problems
    with found.collect():
        refuse_what_has_no_room(config, nodes)
    if on_gpus and config.placement.share:
        with found.collect():
            refuse_engines_beside_ranks(config, model, gpu_bytes())
    if len(found.problems) > before:
        found.notes.append(
            "without RAY_ADDRESS a run starts on this machine, so its cores and GPUs were checked: "
            "for a run on a cluster give `validate` that variable too (RAY_ADDRESS=auto)"
        )


def gpu_bytes() -> float:
    """The memory of this machine's smallest GPU; infinite where torch sees none and cannot say."""
    import torch

    sizes = [torch.cuda.get_device_properties(gpu).total_memory for gpu in range(torch.cuda.device_count())]
    return float(min(sizes, default=math.inf))


def describe_places(config: Config) -> str:
    """Where engines, ranks and reward workers would run."""
    engines, ranks, workers = config.rollout.engines, config.learner.ranks, config.reward.workers
    if joins_cluster():
        return "the cluster of RAY_ADDRESS, whose nodes are counted when the run starts"
    (here,) = local_nodes()
    gpu = here["GPU"] > 0
    each = "a GPU and " if gpu else ""
    beside = f" (in turns on the same {'GPUs' if gpu else 'cores'})" if config.placement.share else ""
    on_gpus = "ipc" if config.placement.share else "nccl"
    transfer = config.rollout.transfer if config.rollout.transfer != "auto" else on_gpus if gpu else "gloo"
    return (
        f"this machine ({here['CPU']:g} CPU cores, {here['GPU']:g} GPUs): engines {engines} on {each}{config.rollout.cpus_per_engine:g} "
        f"CPU each, ranks {ranks} on {each}{config.learner.cpus_per_rank:g} CPU each{beside}, reward workers {workers}; "
        f"weights by {transfer}"
    )
