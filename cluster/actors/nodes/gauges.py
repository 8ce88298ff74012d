"""A run's metrics for Prometheus: one gauge each, which Ray serves on every node's metrics port."""

import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray.util.metrics import Gauge

from configs.schema import Config

LETTERS = re.compile(r"[^A-Za-z0-9_]")
LOOPBACK = "127.0.0.1"
TAGS = ("run", "key")  # the key tells metrics apart whose names are the same in Prometheus' letters


class Gauges:
    """The gauges of one run. Setting one costs microseconds: Ray collects and serves them in other processes."""

    def __init__(self, config: Config) -> None:
        self.run = config.trackers.name or config.run_dir.name
        self.made: dict[str, Gauge] = {}

    def set(self, values: Mapping[str, Any]) -> None:
        """Set every gauge to the value of the newest step. One without a number keeps its last value."""
        for key, value in values.items():
            if isinstance(value, int | float):
                name = gauge_name(key)
                if name not in self.made:
                    self.made[name] = Gauge(name, description=f"{key} of the newest step", tag_keys=TAGS)
                self.made[name].set(float(value), tags={"run": self.run, "key": key})


def gauge_name(key: str) -> str:
    """The name of a metric's gauge; Ray puts `ray_` before it."""
    return f"gatewise_{LETTERS.sub('_', key)}"


def port_problems(config: Config) -> Iterator[str]:
    """Why the run's own Ray could not serve metrics on the port that the config names."""
    port = config.trackers.prometheus_port
    with socket.socket() as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((LOOPBACK, port))
        except OSError as error:
            yield (
                f"trackers.prometheus_port got {port}, which this machine does not give ({error.strerror}): choose another one, or 0 for "
                "a free one"
            )


def addresses() -> list[str]:
    """Where Ray serves the metrics of each node; the driver's are among those of its own node."""
    return [f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics" for node in ray.nodes() if node["Alive"]]
