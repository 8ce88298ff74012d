"""One short piece of work on every other node of a cluster, as Ray tasks that reserve nothing."""

import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.actors.session import ray_session

T = TypeVar("T")


def on_other_nodes(work: Callable[..., T], *given: Any, limit_s: float) -> dict[str, T | Exception]:
    """By the address of each node that is alive but the driver's own, what `work` returned there, or why it returned nothing.

    All nodes together have `limit_s` seconds.
    The cluster is the one of RAY_ADDRESS; ConnectionError where it cannot be joined. `work` must be a function of a module that the nodes
    can import.
    """
    try:
        with ray_session(None):
            task = ray.remote(num_cpus=0, max_retries=0)(work)
            own = ray.get_runtime_context().get_node_id()
            nodes = {name_of(node): str(node["NodeID"]) for node in ray.nodes() if node["Alive"] and node["NodeID"] != own}
            running = {
                address: task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(*given)
                for address, node in nodes.items()
            }
            ends = time.monotonic() + limit_s
            return {address: answer_of(reference, max(0.1, ends - time.monotonic())) for address, reference in running.items()}
    except RayError as failed:
        raise ConnectionError(f"{type(failed).__name__}: {failed}") from failed


def name_of(node: Mapping[str, Any]) -> str:
    """A node's address with the port of its Ray, since one machine may run several."""
    return f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"


def answer_of(reference: Any, limit_s: float) -> Any:
    """The result of a task, or the error that it ended with."""
    try:
        return ray.get(reference, timeout=limit_s)
    except RayError as failed:
        return failed
