"""Places runs on a simulated cluster: real raylets on this machine, which declare GPUs that do not exist. No engine or rank starts.

    python -m tests.toys.simulated_cluster 8,8,8,8 configs/qwen3_30b_a3b_gspo.toml "learner.expert_parallel=8"

prints a JSON line for each set of overrides: the node of every engine and of every rank, the expert groups on several nodes, what was said,
and what Ray gave to the ranks of the first expert group. A set that begins with `changing` is for a run whose engines come and go, with a
node that joins and dies.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
from ray.cluster_utils import Cluster

from cluster.actors.placement import reserve
from cluster.actors.places import device
from cluster.actors.places.apart import Places
from cluster.actors.places.numbering import groups_across_nodes
from configs.loader import load
from configs.schema import Config

STORE = 80 * 1024 * 1024
MOST_STARTED = 4  # nodes of a cluster on which actors start; a process for each rank of a large one would take minutes


class Where:
    """Says which node and which GPUs Ray gave to an actor."""

    def here(self) -> tuple[str, list[int]]:
        return ray.get_runtime_context().get_node_id(), [int(gpu) for gpu in ray.get_gpu_ids()]


def placed(config: Config, *, start: bool) -> dict[str, Any]:
    said: list[str] = []
    places = reserve(config, said.append)
    nodes, engines = places.nodes(), places.engines
    short = {node: place for place, node in enumerate(sorted(set(nodes)))}
    found = {
        "engines": [short[node] for node in nodes[:engines]],
        "ranks": [short[node] for node in nodes[engines:]],
        "across": groups_across_nodes(nodes[engines:], config.learner.expert_parallel),
        "said": said,
        "started": [(short[node], gpus) for node, gpus in started(config, places)] if start else [],
    }
    places.give_back()
    return found


def started(config: Config, places: Places) -> list[tuple[str, list[int]]]:
    kind = ray.remote(Where)
    actors = [kind.options(**places.rank_options(rank, {})).remote() for rank in range(config.learner.expert_parallel)]
    return ray.get([actor.here.remote() for actor in actors])


async def changing(cluster: Cluster, config: Config) -> dict[str, Any]:
    """What becomes of places when engines leave and come back, and when a node joins and dies."""
    places = reserve(config, [].append)
    assert isinstance(places, Places)
    count, found = places.engines, {}
    found["engines"], found["full"] = count, (places.room(), await places.open(count))
    await places.close(count - 1)
    found["freed"] = until(lambda: places.room() == 1)
    found["again"] = await places.open(count - 1)
    node = cluster.add_node(num_cpus=128, num_gpus=2, object_store_memory=STORE, include_dashboard=False)
    found["joined"] = until(lambda: places.room() == 1) and (places.most(), await places.open(count))
    here = ray.remote(Where).options(**places.options(count, {})).remote()
    found["there"] = ray.get(here.here.remote())[0] == places.homes[count].node == node.node_id
    cluster.remove_node(node)
    found["died"] = until(lambda: places.most() == count) and await places.open(count)
    places.give_back()
    found["left"] = until(lambda: ray.available_resources().get("GPU") == ray.cluster_resources()["GPU"])
    return found


def competing(config: Config) -> list[bool]:
    """Two jobs that each want nearly everything, at the same time: both get it, one after the other."""

    def job(_: int) -> bool:
        reserve(config, [].append).give_back()
        return True

    with ThreadPoolExecutor(2) as jobs:
        return list(jobs.map(job, range(2), timeout=60))


def until(holds: Callable[[], bool], seconds: float = 20) -> bool:
    """Whether something comes true in time; Ray's view of a cluster lags behind."""
    ends = time.monotonic() + seconds
    while not holds() and time.monotonic() < ends:
        time.sleep(0.1)
    return holds()


def main(gpus: str, file: str, *runs: str) -> None:
    device.installed = lambda: device.Builds("2.13.0", "13.0", "cuda")
    cluster = Cluster()
    for count in gpus.split(","):
        cluster.add_node(num_cpus=128, num_gpus=int(count), object_store_memory=STORE, include_dashboard=False)
    ray.init(address=cluster.address, log_to_driver=False)
    for number, overrides in enumerate(runs):
        first, *rest = overrides.split()
        if first == "changing":
            config = load(file, rest)
            print(json.dumps({**asyncio.run(changing(cluster, config)), "competing": competing(config)}), flush=True)
        else:
            print(json.dumps(placed(load(file, [first, *rest]), start=number == 0 and gpus.count(",") < MOST_STARTED)), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
