"""Places runs on a simulated cluster: real raylets on this machine, which declare GPUs that do not exist. No engine or rank starts.

    python -m tests.toys.simulated_cluster 8,8,8,8 configs/qwen3_30b_a3b_gspo.toml "learner.expert_parallel=8"

prints a JSON line for each set of overrides: the node of every engine and of every rank, the expert groups on several nodes, what was said,
and what Ray gave to the ranks of the first expert group.
"""

import json
import sys
from typing import Any

import ray
from ray.cluster_utils import Cluster

from cluster.actors.placement import Places, reserve
from cluster.actors.places import device
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


def main(gpus: str, file: str, *runs: str) -> None:
    device.installed = lambda: device.Builds("2.13.0", "13.0", "cuda")
    cluster = Cluster()
    for count in gpus.split(","):
        cluster.add_node(num_cpus=128, num_gpus=int(count), object_store_memory=STORE, include_dashboard=False)
    ray.init(address=cluster.address, log_to_driver=False)
    for number, overrides in enumerate(runs):
        print(json.dumps(placed(load(file, overrides.split()), start=number == 0 and gpus.count(",") < MOST_STARTED)), flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
