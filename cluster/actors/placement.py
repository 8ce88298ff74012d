"""The placement group of a run: bundles reserved together, PACKed onto few nodes, with ranks numbered by node."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import PlacementGroup, placement_group, placement_group_table, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors.places.bundles import Bundle, Layout
from cluster.actors.places.device import on_gpu
from cluster.actors.places.fit import room_for
from cluster.actors.places.numbering import groups_across_nodes
from cluster.actors.places.shared import SharedPlaces, share_places
from configs.schema import Config

PATIENCE_S = 10.0  # for free resources, before the user hears what the run waits for


@dataclass(frozen=True, slots=True)
class Places:
    """A reserved place for every engine, then for every rank."""

    group: PlacementGroup
    layout: Layout
    gpu: bool

    def options(self, index: int, env: dict[str, str]) -> dict[str, Any]:
        """Options that put an actor into its bundle; Ray never restarts it, since a fresh actor would have no weights."""
        needs, bundle = self.layout.needs[index], self.layout.homes[index]
        return {
            "num_cpus": needs["CPU"],
            "num_gpus": needs.get("GPU", 0),
            "max_restarts": 0,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=self.group, placement_group_bundle_index=bundle),
            "runtime_env": {"env_vars": env},
        }

    def nodes(self) -> list[str]:
        """The id of the node that holds each actor."""
        homes = placement_group_table(self.group)["bundles_to_node_id"]
        return [str(homes[bundle]) for bundle in self.layout.homes]

    def give_back(self) -> None:
        """Free every bundle."""
        remove_placement_group(self.group)


def cluster_nodes() -> list[Bundle]:
    """The resources of every node that is alive."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


def reserve(config: Config, say: Callable[[str], object] = print) -> Places | SharedPlaces:
    """Reserve every bundle at once; TimeoutError if other jobs hold the resources until the deadline.

    `say` gets a line when the run waits for other jobs, and one if expert groups lie on several nodes.
    """
    nodes = cluster_nodes()
    layout = room_for(config, nodes)
    group = placement_group(layout.bundles, strategy="PACK")
    deadline = float(config.run.deadline_s)
    patience = min(PATIENCE_S, deadline)
    if not group.wait(patience):
        say(f"waiting for resources that other jobs use: {describe_need(layout)}")
        if deadline <= patience or not group.wait(deadline - patience):
            needed = describe_need(layout)
            smaller = ", or lower learner.expert_parallel, whose groups each need one node" if layout.group > 1 else ""
            remove_placement_group(group)
            raise TimeoutError(
                f"the cluster is large enough for this run, but other jobs use its resources: no placement within run.deadline_s "
                f"({config.run.deadline_s} s), with {needed}; wait for those jobs, or raise it{smaller}"
            )
    if config.placement.share:
        return share_places(config, group, on_gpu(config, nodes))
    places = Places(group, layout.numbered(_nodes_of_bundles(group)), on_gpu(config, nodes))
    ranks, size = places.nodes()[layout.engines :], layout.group
    if across := groups_across_nodes(ranks, size):
        say(
            f"warning: {len(across)} of {len(ranks) // size} expert groups lie on several nodes, which have no room for groups of "
            f"learner.expert_parallel = {size} ranks: their tokens travel between nodes in every layer; a smaller one avoids that"
        )
    return places


def _nodes_of_bundles(group: PlacementGroup) -> list[str]:
    """The node of each bundle, in words that sort by address."""
    addresses = {node["NodeID"]: re.sub(r"\d+", lambda number: number[0].zfill(3), node["NodeManagerAddress"]) for node in ray.nodes()}
    homes = placement_group_table(group)["bundles_to_node_id"]
    return [f"{addresses[homes[bundle]]} {homes[bundle]}" for bundle in sorted(homes)]


def describe_need(layout: Layout) -> str:
    """The bundles that a run waits for, and what every node has free at present."""
    kind = "GPU" if "GPU" in layout.bundles[0] else "CPU"
    sizes = Counter(f"{bundle[kind]:g}" for bundle in layout.bundles)
    wanted = " and ".join(f"{count} × {size}" for size, count in sizes.items())
    free = ", ".join(f"{node.get(kind, 0):g}" for node in available_resources_per_node().values())
    return f"{wanted} {kind}s needed, each on one node; free on the nodes: {free}"
