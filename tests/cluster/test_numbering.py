"""Ranks are numbered by node, so that groups of consecutive ranks lie on one node wherever the places allow it."""

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.actors.places.numbering import groups_across_nodes, in_order_of_node


def numbered(nodes: list[str], group: int) -> list[str]:
    """The node of each rank."""
    order = in_order_of_node(nodes, group)
    assert sorted(order) == list(range(len(nodes)))
    return [nodes[place] for place in order]


def test_ranks_of_a_shuffled_placement_lie_node_by_node() -> None:
    assert numbered(["b", "a", "b", "a"], 1) == ["a", "a", "b", "b"]
    shuffled = [f"node {(17 * place) % 8}" for place in range(64)]
    assert groups_across_nodes(shuffled, 8) == list(range(8))
    assert groups_across_nodes(numbered(shuffled, 8), 8) == []


@pytest.mark.parametrize(
    ("counts", "group", "across"),
    [
        ({"a": 8, "b": 8}, 16, [0]),  # a group larger than a node
        ({"a": 6, "b": 6}, 4, [2]),  # two places remain on each node
        ({"a": 5, "b": 3, "c": 4}, 4, [2]),
        ({"a": 7, "b": 5}, 4, [2]),
        ({"a": 12, "b": 4}, 4, []),
        ({"a": 3, "b": 3, "c": 2}, 4, [0, 1]),
    ],
)
def test_only_places_that_remain_on_their_nodes_make_groups_across_nodes(counts: dict[str, int], group: int, across: list[int]) -> None:
    assert groups_across_nodes(numbered(list(Counter(counts).elements()), group), group) == across


@settings(max_examples=40)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=24), st.sampled_from([1, 2, 3, 4, 8]))
def test_as_many_groups_as_possible_lie_on_one_node(nodes: list[str], group: int) -> None:
    nodes += ["a"] * (math.ceil(len(nodes) / group) * group - len(nodes))
    possible = sum(count // group for count in Counter(nodes).values())
    assert len(groups_across_nodes(numbered(nodes, group), group)) == len(nodes) // group - possible
