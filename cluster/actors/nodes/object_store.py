"""Ray's object stores: how large each node's is, and whether a run fits into them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import ray
from ray._private.utils import estimate_available_memory, resolve_object_store_memory

from configs.arithmetic import model_config
from configs.errors import InputError
from configs.object_store import Shortage, shortage, store_need
from configs.schema import Config


def local_store() -> int:
    """Bytes of the object store that a Ray on this machine alone would have; starts nothing."""
    return int(resolve_object_store_memory(estimate_available_memory()))


def refuse_small_stores(config: Config, homes: Sequence[str], say: Callable[[str], object]) -> None:
    """Raise InputError if a node's object store is hopelessly small for its engines and ranks; `say` a warning if it may become full.

    `homes` are the ids of the nodes of every engine, then of every rank.
    """
    found = list(shortages(config, homes, {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}))
    if hopeless := [short.text for short in found if short.hopeless]:
        raise InputError("\n".join(hopeless))
    if found:
        more = f" (and {len(found) - 1} other nodes like it)" if len(found) > 1 else ""
        say(f"warning: {found[0].text}{more}")


def shortages(config: Config, homes: Sequence[str], nodes: Mapping[str, Any]) -> Iterator[Shortage]:
    """What is wrong with each node, in the order of `homes`; a node is as `ray.nodes()` describes it."""
    engines = len(homes) - config.learner.ranks
    need = store_need(config, model_config(config), engines)
    for home in dict.fromkeys(homes):
        node = nodes.get(home)
        store = float(node["Resources"].get("object_store_memory", 0)) if node else 0.0
        if node and store:
            counts = homes[:engines].count(home), homes[engines:].count(home)
            found = shortage(config, need, *counts, store, f"node {node['NodeManagerAddress']}")
            if found is not None:
                yield found
