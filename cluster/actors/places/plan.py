"""Which node each bundle goes to, and how many engines the nodes have room for. Pure arithmetic on what is free."""

from collections.abc import Mapping, Sequence

from cluster.actors.places.bundles import Bundle, Layout

SMALLEST = 1e-4  # of a resource that Ray tells apart
Nodes = Mapping[str, Bundle]  # node id -> what it has, or has free


def planned(wanted: Sequence[Bundle], free: Nodes) -> list[str] | None:
    """The node of each bundle, or None where they do not fit together: as Ray's PACK places them, else as tightly as possible."""
    return packed(wanted, free) or tightest(wanted, free)


def packed(wanted: Sequence[Bundle], free: Nodes) -> list[str] | None:
    """Ray's PACK: the largest bundle goes to the emptiest node, then all that still fit go beside it, and so on."""
    left, homes = copied(free), [""] * len(wanted)
    waiting = largest_first(wanted)
    while waiting:
        worth = {node: emptiness(wanted[waiting[0]], has) for node, has in left.items() if holds(has, wanted[waiting[0]])}
        if not worth:
            return None
        home = max(worth, key=worth.__getitem__)
        for place in list(waiting):
            if holds(left[home], wanted[place]):
                take(left[home], wanted[place])
                homes[place] = home
                waiting.remove(place)
    return homes


def tightest(wanted: Sequence[Bundle], free: Nodes) -> list[str] | None:
    """The largest bundle first, each on the node that it fills most."""
    left, homes = copied(free), [""] * len(wanted)
    for place in largest_first(wanted):
        rest = {node: size_of(has) for node, has in left.items() if holds(has, wanted[place])}
        if not rest:
            return None
        homes[place] = min(rest, key=rest.__getitem__)
        take(left[homes[place]], wanted[place])
    return homes


def emptiness(bundle: Bundle, has: Bundle) -> float:
    """The share of each resource that stays free beside a bundle, summed."""
    return sum((has[kind] - size) / has[kind] for kind, size in bundle.items() if size and has[kind])


def fits(wanted: Sequence[Bundle], nodes: Sequence[Bundle]) -> bool:
    """Whether every bundle fits whole on a node."""
    return tightest(wanted, numbered(nodes)) is not None


def copied(nodes: Nodes) -> dict[str, Bundle]:
    return {node: dict(has) for node, has in nodes.items()}


def numbered(nodes: Sequence[Bundle]) -> dict[str, Bundle]:
    """Nodes without ids, by their place in the list."""
    return {str(place): node for place, node in enumerate(nodes)}


def holds(has: Bundle, bundle: Bundle) -> bool:
    return all(has.get(kind, 0) + SMALLEST / 2 >= size for kind, size in bundle.items())


def take(has: Bundle, bundle: Bundle) -> None:
    for kind, size in bundle.items():
        has[kind] -= size


def largest_first(wanted: Sequence[Bundle]) -> list[int]:
    return sorted(range(len(wanted)), key=lambda place: size_of(wanted[place]), reverse=True)


def size_of(resources: Bundle) -> tuple[float, float]:
    return resources.get("GPU", 0), resources.get("CPU", 0)


def room_for_engines(engine: Bundle, free: Nodes) -> int:
    """How many further engines the nodes have room for, each whole on one of them."""
    return sum(min(int((has.get(kind, 0) + SMALLEST / 2) // size) for kind, size in engine.items() if size) for has in free.values())


def engines_that_fit(layout: Layout, free: Nodes, most: int) -> int:
    """The engines that fit beside the ranks of a layout, at most `most`; 0 where not even those of the layout fit."""
    homes = planned(layout.bundles, free)
    if homes is None:
        return 0
    left = copied(free)
    for home, bundle in zip(homes, layout.bundles, strict=True):
        take(left[home], bundle)
    return min(most, layout.engines + room_for_engines(layout.bundles[0], left)) if most > layout.engines else layout.engines
