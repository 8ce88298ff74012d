"""Where engines and ranks go that have GPUs or cores of their own: one placement group for the ranks, one for each engine."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.actors.places import groups
from cluster.actors.places.bundles import Bundle, Layout
from cluster.actors.places.plan import copied, holds, planned, room_for_engines, size_of, take
from configs.schema import Config

PLACED_S = 5.0  # for Ray to place what seemed free


@dataclass(frozen=True, slots=True)
class Home:
    """The place of one engine."""

    group: PlacementGroup
    node: str  # its id
    address: str


class Places:
    """Reserved places: those of the ranks stay together, an engine's may be given back and found again while the run works.

    Methods may be called from several threads at once.
    """

    def __init__(
        self, config: Config, layout: Layout, gpu: bool, ranks: PlacementGroup, rank_nodes: Sequence[str], engines: dict[int, Home]
    ) -> None:
        self.config, self.layout, self.gpu = config, layout, gpu
        self.ranks, self.rank_nodes, self.homes = ranks, list(rank_nodes), engines
        self.opening = threading.Lock()
        self.given_back = False

    @property
    def engines(self) -> int:
        """The number of engines at the start."""
        return self.layout.engines

    @property
    def engine(self) -> Bundle:
        """What an engine takes."""
        return self.layout.bundles[0]

    async def open(self, index: int) -> bool:
        """Reserve a place for engine `index`, or keep the one that it has if its node is alive; False if nothing fits now."""
        return await asyncio.to_thread(self._open, index)

    def _open(self, index: int) -> bool:
        with self.opening:  # Ray's view of what is free lags, so two engines that look at once would choose the same place
            home = self.homes.get(index)
            if home is not None and home.node in groups.alive_nodes():
                return True
            self._close(index)
            node = self._best_node()
            if node is None or self.given_back:
                return False
            group = groups.pinned([self.engine], [node])
            self.homes[index] = Home(group, node, groups.addresses()[node])
            if groups.all_placed([group], PLACED_S) and not self.given_back:
                return True
            self._close(index)
            return False

    def _best_node(self) -> str | None:
        """The node for one more engine: one where this run already is, and of these the one that the engine fills most."""
        ours = {*self.rank_nodes, *(home.node for home in self.homes.values())}
        fitting = {node: (node not in ours, size_of(has)) for node, has in groups.free_nodes().items() if holds(has, self.engine)}
        return min(fitting, key=fitting.__getitem__) if fitting else None

    async def close(self, index: int) -> None:
        """Give the place of engine `index` back, if it has one; whatever still runs there is ended by Ray."""
        await asyncio.to_thread(self._close, index)

    def _close(self, index: int) -> None:
        home = self.homes.pop(index, None)
        if home is not None:
            groups.remove([home.group])

    def options(self, index: int, env: dict[str, str]) -> dict[str, Any]:
        """Options that put engine `index` into its place; KeyError if `open` has not found one."""
        return actor_options(self.engine, self.homes[index].group, 0, env)

    def rank_options(self, rank: int, env: dict[str, str]) -> dict[str, Any]:
        """Options that put a rank into its bundle."""
        actor = self.engines + rank
        return actor_options(self.layout.needs[actor], self.ranks, self.layout.homes[actor] - self.engines, env)

    def address_of(self, index: int) -> str | None:
        """The address of the node of engine `index`; None while it has no place."""
        home = self.homes.get(index)
        return home.address if home else None

    def nodes(self) -> list[str]:
        """The id of the node of each engine that has a place, in order of their numbers, then of each rank."""
        slots = self.layout.homes[self.engines :]
        return [*(self.homes[index].node for index in sorted(self.homes)), *(self.rank_nodes[slot - self.engines] for slot in slots)]

    async def renew_ranks(self) -> bool:
        """Whether the ranks have places on nodes that are alive; if a node is lost, all ranks move. False if nothing fits now."""
        return await asyncio.to_thread(self._renew_ranks)

    def _renew_ranks(self) -> bool:
        with self.opening:
            if groups.alive_nodes().keys() >= set(self.rank_nodes):
                return True
            groups.remove([self.ranks])
            bundles = self.layout.bundles[self.engines :]
            homes = planned(bundles, groups.free_nodes())
            if homes is None or self.given_back:
                return False
            self.ranks = groups.pinned(bundles, homes)
            if not groups.all_placed([self.ranks], PLACED_S):
                return False
            self.rank_nodes = homes
            self.layout = self.layout.numbered([*[""] * self.engines, *groups.in_words_that_sort(homes)])
            return True

    def room(self) -> int:
        """How many further engines would find a place now."""
        return room_for_engines(self.engine, groups.free_nodes())

    def most(self) -> int:
        """How many engines the cluster could hold beside this run's ranks if no other job were there."""
        left = copied(groups.alive_nodes())
        for node, bundle in zip(self.rank_nodes, self.layout.bundles[self.engines :], strict=True):
            if node in left:
                take(left[node], bundle)
        return room_for_engines(self.engine, left)

    def give_back(self) -> None:
        """Give every place back, also one that is being reserved."""
        self.given_back = True
        for index in list(self.homes):
            self._close(index)
        groups.remove([self.ranks])


def actor_options(needs: Bundle, group: PlacementGroup, bundle: int, env: dict[str, str]) -> dict[str, Any]:
    """Options that put an actor into a bundle; Ray never restarts it, since a fresh actor would have no weights."""
    return {
        "num_cpus": needs["CPU"],
        "num_gpus": needs.get("GPU", 0),
        "max_restarts": 0,
        "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=bundle),
        "runtime_env": {"env_vars": env},
    }
