"""A local Ray with those of its processes alone that a run uses.

Ray also starts a log monitor, an autoscaler, an API server and two agents. Each imports for a second or two, and Ray waits for three of
them before it starts a worker. A run sends its output to files, has one node, and gives every actor its environment itself.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray import _raylet
from ray._private import parameter, services
from ray._private.ray_constants import PROCESS_TYPE_RAYLET

RAYLET: Any = _raylet  # compiled, without types for these names
IDLE = subprocess.list2cmdline([sys.executable, "-I", "-S", str(Path(__file__).with_name("idle_agent.py"))])
NOT_THERE = -1  # Ray's own port of a service that is not in use
PORTS = {
    "dashboard_agent": (RAYLET.METRICS_AGENT_PORT_NAME, RAYLET.METRICS_EXPORT_PORT_NAME, RAYLET.DASHBOARD_AGENT_LISTEN_PORT_NAME),
    "runtime_env_agent": (RAYLET.RUNTIME_ENV_AGENT_PORT_NAME,),
}


@contextmanager
def lean(*, metrics: bool) -> Iterator[None]:
    """Within, `ray.init` starts no more than a run uses; with `metrics` also the agent that serves them to Prometheus."""
    idle = [name for name in PORTS if not (metrics and name == "dashboard_agent")]
    names: dict[str, Any] = vars(services)
    parameters: dict[str, Any] = vars(parameter)
    before = names["start_api_server"], names["start_ray_process"], parameters["RayParams"]
    names["start_api_server"] = lambda *_, **__: (None, None)
    names["start_ray_process"] = partial(start_without, idle, before[1])
    parameters["RayParams"] = partial(before[2], include_log_monitor=False, no_monitor=True)
    try:
        yield
    finally:
        names["start_api_server"], names["start_ray_process"], parameters["RayParams"] = before


def start_without(idle: list[str], start: Callable[..., Any], command: list[str], process_type: str, **options: Any) -> Any:
    """Start a process of Ray's; for a raylet, the agents in `idle` are replaced by processes that only wait."""
    if process_type == PROCESS_TYPE_RAYLET:
        words = dict(word.removeprefix("--").split("=", 1) for word in command if word.startswith("--") and "=" in word)
        for agent in idle:
            for port in PORTS[agent]:  # the raylet waits until each has a number
                RAYLET.persist_port(words["session_dir"], words["node_id"], port, NOT_THERE)
        replaced = {f"--{agent}_command": IDLE for agent in idle}
        command = [f"{name}={replaced[name]}" if (name := word.partition("=")[0]) in replaced else word for word in command]
    return start(command, process_type, **options)
