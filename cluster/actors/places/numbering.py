"""Which rank gets which number: DeepSpeed makes expert groups of consecutive ranks, so these should lie on one node."""

from collections import defaultdict
from collections.abc import Sequence


def in_order_of_node(nodes: Sequence[str], group: int) -> list[int]:
    """The places in the order in which ranks take them; `nodes[i]` is the node of place i.

    Nodes come in sorted order, each with as many whole groups as it has room for. The places that remain follow, those of the node with
    most of them first, so that few groups span nodes and these span few. Every place is taken once.
    """
    by_node: dict[str, list[int]] = defaultdict(list)
    for place, node in enumerate(nodes):
        by_node[node].append(place)
    whole: list[int] = []
    rest: list[list[int]] = []
    for node in sorted(by_node):
        places = by_node[node]
        full = len(places) // group * group
        whole += places[:full]
        rest.append(places[full:])
    return [*whole, *(place for places in sorted(rest, key=len, reverse=True) for place in places)]


def groups_across_nodes(nodes: Sequence[str], group: int) -> list[int]:
    """The groups of consecutive ranks that lie on more than one node; `nodes[i]` is the node of rank i."""
    return [first // group for first in range(0, len(nodes), group) if len(set(nodes[first : first + group])) > 1]
