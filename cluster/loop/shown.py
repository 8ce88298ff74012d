"""Where the metrics of a step go beside the record: to the caller, to Prometheus, and a look at what the trackers say."""

from typing import Any

from cluster.actors.nodes.gauges import Gauges, addresses
from cluster.record.metrics.metrics import OnStep
from cluster.record.metrics.trackers.followers import Followers
from cluster.record.progress.progress import Progress
from configs.schema import Config


class Shown:
    """Gets the values of every step of one run, and waits for no tracker."""

    def __init__(self, config: Config, show: Progress, followers: Followers, on_step: OnStep | None) -> None:
        """`on_step` is the caller's own, which the run waits for."""
        self.show, self.followers, self.on_step = show, followers, on_step
        self.gauges = Gauges(config) if "prometheus" in config.trackers.use else None

    def begin(self) -> None:
        """Start the trackers. The record is cut to where the run begins, and Ray is up."""
        self.followers.start()
        if self.gauges is not None:
            self.show.say(f"prometheus: scrape {' and '.join(addresses())}")

    def __call__(self, values: dict[str, Any]) -> None:
        """Take in the values of one step."""
        if self.gauges is not None:
            self.gauges.set(values)
        self.followers.tell()
        if self.on_step is not None:
            self.on_step(values)
