"""What a run reserves: a placement group for all ranks and one for each engine, which may be given back and reserved again."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import ray
from ray.util.placement_group import PlacementGroup, placement_group

from cluster.actors.places import groups
from cluster.actors.places.apart import Home, Places
from cluster.actors.places.bundles import Bundle, Layout
from cluster.actors.places.device import on_gpu
from cluster.actors.places.fit import room_for
from cluster.actors.places.numbering import groups_across_nodes
from cluster.actors.places.plan import Nodes, engines_that_fit, planned
from cluster.actors.places.shared import SharedPlaces, share_places
from configs.schema import Config

PATIENCE_S = 10.0  # for free resources, before a line says what the run waits for
LOOK_S = 1.0  # between two looks at what is free
PLACED_S = 3.0  # for Ray to place what seemed free


def cluster_nodes() -> list[Bundle]:
    """The resources of every node that is alive."""
    return [dict(node["Resources"]) for node in ray.nodes() if node["Alive"]]


async def reserve_places(config: Config, say: Callable[[str], object] = print) -> Places | SharedPlaces:
    """The same as `reserve`, without blocking; whoever is cancelled stops waiting for other jobs."""
    given_up = threading.Event()
    try:
        return await asyncio.to_thread(reserve, config, say, given_up)
    finally:
        given_up.set()


def reserve(config: Config, say: Callable[[str], object] = print, given_up: threading.Event | None = None) -> Places | SharedPlaces:
    """Reserve everything at once; TimeoutError if other jobs hold the resources until the deadline.

    `say` gets a line when the run waits for other jobs, and one if expert groups lie on several nodes. Once `given_up` is set, another
    thread no longer wants the places: InterruptedError.
    """
    nodes = cluster_nodes()
    layout = room_for(config, nodes)
    if config.placement.share:
        return share_places(config, _reserve_together(config, layout, say), on_gpu(config, nodes))
    places = _reserve_apart(config, layout, on_gpu(config, nodes), say, given_up or threading.Event())
    ranks, size = places.nodes()[places.engines :], layout.group
    if across := groups_across_nodes(ranks, size):
        say(
            f"warning: {len(across)} of {len(ranks) // size} expert groups lie on several nodes, which have no room for groups of "
            f"learner.expert_parallel = {size} ranks: their tokens travel between nodes in every layer; a smaller one avoids that"
        )
    return places


def _reserve_apart(config: Config, layout: Layout, gpu: bool, say: Callable[[str], object], given_up: threading.Event) -> Places:
    """A group for the ranks and one for each engine: as many engines as find room now, the fewest at least.

    While not everything fits, the run holds nothing: two jobs with half each would wait for each other forever.
    """
    began, deadline = time.monotonic(), float(config.run.deadline_s)
    patience, heard = min(PATIENCE_S, deadline), False
    while True:
        places = _try_to_reserve(config, layout, gpu)
        if places is not None:
            return places
        waited = time.monotonic() - began
        if not heard and waited >= patience:
            say(f"waiting for resources that other jobs use: {describe_need(layout)}")
            heard = True
        if waited >= deadline:
            raise TimeoutError(describe_wait(config, layout))
        # By chance one of two jobs that took each other's resources comes back first, and finds all that it needs.
        pause(given_up, LOOK_S * random.uniform(0.5, 1.5))


def pause(given_up: threading.Event, seconds: float) -> None:
    """Wait; InterruptedError as soon as the wait is given up."""
    if given_up.wait(seconds):
        raise InterruptedError("the run was stopped while it waited for resources")


def _try_to_reserve(config: Config, layout: Layout, gpu: bool) -> Places | None:
    free = groups.free_nodes()
    found = as_many_as_fit(layout, free, config.rollout.most_engines)
    if found is None:
        return None
    layout, homes = found
    layout = layout.numbered(groups.in_words_that_sort(homes))
    count = layout.engines
    known = groups.addresses()
    engines = {i: Home(groups.pinned(layout.bundles[:1], [homes[i]]), homes[i], known[homes[i]]) for i in range(count)}
    ranks = groups.pinned(layout.bundles[count:], homes[count:])
    every = [ranks, *(home.group for home in engines.values())]
    if groups.all_placed(every, PLACED_S * random.uniform(0.7, 1.3)):
        return Places(config, layout, gpu, ranks, homes[count:], engines)
    groups.remove(every)
    return None


def as_many_as_fit(layout: Layout, free: Nodes, most: int) -> tuple[Layout, list[str]] | None:
    """The layout with as many engines as fit now, at most `most`, and the node of each bundle; None where it does not fit at all."""
    for count in range(engines_that_fit(layout, free, most), layout.engines - 1, -1):
        wider = layout.with_engines(count)
        homes = planned(wider.bundles, free)
        if homes is not None:
            return wider, homes
    return None


def _reserve_together(config: Config, layout: Layout, say: Callable[[str], object]) -> PlacementGroup:
    """One group with a bundle for each engine and the ranks beside it, which Ray places whole."""
    group = placement_group(layout.bundles, strategy="PACK")
    deadline = float(config.run.deadline_s)
    patience = min(PATIENCE_S, deadline)
    if not group.wait(patience):
        say(f"waiting for resources that other jobs use: {describe_need(layout)}")
        if deadline <= patience or not group.wait(deadline - patience):
            groups.remove([group])
            raise TimeoutError(describe_wait(config, layout))
    return group


def describe_wait(config: Config, layout: Layout) -> str:
    """Why a run that fits on the cluster was not placed, and what to do."""
    smaller = ", or lower learner.expert_parallel, whose groups each need one node" if layout.group > 1 else ""
    return (
        f"the cluster is large enough for this run, but other jobs use its resources: no placement within run.deadline_s "
        f"({config.run.deadline_s} s), with {describe_need(layout)}; wait for those jobs, or raise it{smaller}"
    )


def describe_need(layout: Layout) -> str:
    """The bundles that a run waits for, and what every node has free at present."""
    kind = "GPU" if "GPU" in layout.bundles[0] else "CPU"
    sizes = Counter(f"{bundle[kind]:g}" for bundle in layout.bundles)
    wanted = " and ".join(f"{count} × {size}" for size, count in sizes.items())
    free = ", ".join(f"{node.get(kind, 0):g}" for node in groups.free_nodes().values())
    return f"{wanted} {kind}s needed, each on one node; free on the nodes: {free}"
