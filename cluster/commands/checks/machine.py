"""What this machine cannot run of a config. With RAY_ADDRESS the run goes to a cluster, whose nodes are not known here."""

from cluster.actors.nodes.gauges import port_problems
from cluster.actors.nodes.object_store import local_store
from cluster.actors.places.device import count_gpus, on_gpu, refuse_device, this_machine, unused_gpus
from cluster.actors.places.fit import engines_at_start, needs_of_gpus, refuse_what_engines_on_cpus_cannot, room_for
from cluster.actors.session import joins_cluster, threads_here
from cluster.commands.checks.attention import missing_package
from cluster.commands.checks.engine import Model, cpu_problems
from cluster.commands.checks.findings import Findings
from cluster.commands.init.machine import gpus_here
from configs.memory.shared import refuse_no_room
from configs.memory.sizes import sizes_of
from configs.memory.table import SEEN
from configs.object_store import shortage, store_need
from configs.schema import Config
from rollout.transfer.transport import choose_transport


def check_machine(config: Config, model: Model, found: Findings) -> None:
    """Add what would be refused at the start: a problem if the run would start here, else a note. `model` may be empty."""
    without = Findings()
    with without.collect():
        refuse_what_engines_on_cpus_cannot(config)
    without.problems += [*needs_of_gpus(config), *(cpu_problems(config, model) if model else ())]
    missing = [problem] if (problem := missing_package(config)) else []
    before = len(found.problems)
    with found.collect():
        refuse_device(config, None if joins_cluster() else this_machine())
    if len(found.problems) > before:  # on which device the run would be is not known
        return
    if joins_cluster():
        if config.run.device == "cpu":
            found.problems += without.problems
        else:
            found.notes += [f"on nodes without GPUs this would be refused: {problem}" for problem in without.problems]
            found.notes += missing
        found.notes += unused_gpus(config, None)
        return
    nodes = this_machine()
    gpu = on_gpu(config, nodes)
    found.problems += missing if gpu else without.problems
    with found.collect():
        room_for(config, nodes)
    if gpu and config.placement.share and (sizes := sizes_of(model)) is not None and (here := gpus_here()):
        with found.collect():
            refuse_no_room(config, sizes, min(here) * SEEN)
    found.problems += port_problems(config)
    check_store(config, model, found)
    if not gpu and config.rollout.full_every > 1:
        found.warnings.append(
            f"rollout.full_every = {config.rollout.full_every} makes publishes slower here: on one machine whole weights go through shared "
            "memory, and changes are for weights that cross a network. Use rollout.full_every = 1"
        )
    if len(found.problems) > before:
        found.notes.append(
            "without RAY_ADDRESS a run starts on this machine, so its cores and GPUs were checked: "
            "for a run on a cluster give `validate` that variable too (RAY_ADDRESS=auto)"
        )
    found.notes += unused_gpus(config, count_gpus(nodes))


def check_store(config: Config, model: Model, found: Findings) -> None:
    """Add what is wrong with the object store that Ray would have here."""
    engines = engines_at_start(config, this_machine())
    need = store_need(config, model, engines)
    short = shortage(config, need, engines, config.learner.ranks, local_store(), "this machine")
    if short is not None:
        (found.problems if short.hopeless else found.warnings).append(short.text)


def describe_places(config: Config) -> str:
    """Where engines, ranks and reward workers would run."""
    ranks, workers = config.learner.ranks, config.reward.workers
    if joins_cluster():
        return "the cluster of RAY_ADDRESS, whose nodes are counted when the run starts"
    nodes = this_machine()
    gpu, engines = on_gpu(config, nodes), engines_at_start(config, nodes)
    range_of = (
        "" if isinstance(config.rollout.engines, int) else f" ({config.rollout.fewest_engines} to {config.rollout.most_engines} allowed)"
    )
    each = "a GPU and " if gpu else ""
    beside = f" (in turns on the same {'GPUs' if gpu else 'cores'})" if config.placement.share else ""
    unused = "" if gpu or not count_gpus(nodes) else ", which are not used"
    return (
        f"this machine ({nodes[0]['CPU']:g} CPU cores, {nodes[0]['GPU']:g} GPUs{unused}): engines {engines}{range_of} on {each}"
        f"{config.rollout.cpus_per_engine:g} CPU each, ranks {ranks} on {each}{config.learner.cpus_per_rank:g} CPU each{beside}, "
        f"reward workers {workers}; threads {threads_here(config, gpu)}; weights by {choose_transport(config, gpu=gpu).backend}"
    )
