"""Ray's placement groups on nodes that are chosen beforehand: all of them or none, so that two jobs never wait for each other's half."""

import re
import time
from collections.abc import Sequence

import ray
from ray._private.state import available_resources_per_node
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group

from cluster.actors.places.bundles import Bundle

NODE = "ray.io/node-id"  # the label that every node has


def free_nodes() -> dict[str, Bundle]:
    """What every node that is alive has free, by its id. Ray's view lags behind by up to a second."""
    free = available_resources_per_node()
    return {node: dict(free[node]) for node in alive_nodes() if node in free}


def alive_nodes() -> dict[str, Bundle]:
    """What every node that is alive has in all, by its id."""
    return {str(node["NodeID"]): dict(node["Resources"]) for node in ray.nodes() if node["Alive"]}


def in_words_that_sort(homes: Sequence[str]) -> list[str]:
    """The address and the id of each node, so that their order as texts is that of the addresses' numbers."""
    known = addresses()
    return [f"{re.sub(r'[0-9]+', lambda number: number[0].zfill(3), known[home])} {home}" for home in homes]


def addresses() -> dict[str, str]:
    """The address of every node that Ray has seen, by its id."""
    return {str(node["NodeID"]): str(node["NodeManagerAddress"]) for node in ray.nodes()}


def pinned(bundles: Sequence[Bundle], nodes: Sequence[str]) -> PlacementGroup:
    """A group that asks for each bundle on its own node. Ray places it whole, or keeps it waiting."""
    return placement_group(list(bundles), strategy="PACK", bundle_label_selector=[{NODE: node} for node in nodes])


def all_placed(groups: Sequence[PlacementGroup], patience_s: float) -> bool:
    """Whether every group is placed in time."""
    ends = time.monotonic() + patience_s
    return all(group.wait(max(0.0, ends - time.monotonic())) for group in groups)


def remove(groups: Sequence[PlacementGroup]) -> None:
    """Give everything back that the groups have or wait for."""
    for group in groups:
        remove_placement_group(group)
