"""A cluster in memory: nodes that other jobs may use, that join and die, and placement groups on them."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from cluster.actors.places import device, groups
from cluster.actors.places.bundles import Bundle
from cluster.actors.places.plan import copied, holds, take


@dataclass(eq=False)
class ToyGroup:
    """A placement group that waits until its nodes have what it asks for."""

    bundles: Sequence[Bundle]
    nodes: Sequence[str]
    placed: bool = False


class ToyCluster:
    """Stands in for Ray where placement groups are made; the address of a node is `10.0.0.` with its name."""

    def __init__(self, **nodes: Bundle) -> None:
        self.nodes = dict(nodes)
        self.groups: list[ToyGroup] = []  # that were not removed
        self.busy: dict[str, Bundle] = {}  # what other jobs use
        self.asked = 0

    def installed(self, monkeypatch: pytest.MonkeyPatch) -> "ToyCluster":
        monkeypatch.setattr(device, "installed", lambda: device.Builds("2.13.0", "13.0", "cuda"))
        for name in ("free_nodes", "alive_nodes", "pinned", "all_placed", "remove", "in_words_that_sort", "addresses"):
            monkeypatch.setattr(groups, name, getattr(self, name))
        return self

    def alive_nodes(self) -> dict[str, Bundle]:
        return copied(self.nodes)

    def free_nodes(self) -> dict[str, Bundle]:
        free = copied(self.nodes)
        for node, bundle in self.busy.items():
            take(free[node], bundle)
        for group in self.groups:
            for node, bundle in zip(group.nodes, group.bundles, strict=True):
                if group.placed and node in free:
                    take(free[node], bundle)
        return free

    def addresses(self) -> dict[str, str]:
        return {node: f"10.0.0.{node}" for node in self.nodes}

    def in_words_that_sort(self, homes: Sequence[str]) -> list[str]:
        return list(homes)

    def pinned(self, bundles: Sequence[Bundle], nodes: Sequence[str]) -> ToyGroup:
        self.asked += 1
        group = ToyGroup(bundles, nodes)
        self.groups.append(group)
        self.place(group)
        return group

    def place(self, group: ToyGroup) -> None:
        left = self.free_nodes()
        for node, bundle in zip(group.nodes, group.bundles, strict=True):
            if not holds(left.get(node, {}), bundle):
                return
            take(left[node], bundle)
        group.placed = True

    def all_placed(self, wanted: Sequence[ToyGroup], patience_s: float) -> bool:
        for group in wanted:
            if not group.placed:
                self.place(group)
        return all(group.placed for group in wanted)

    def remove(self, gone: Sequence[ToyGroup]) -> None:
        self.groups = [group for group in self.groups if group not in gone]
