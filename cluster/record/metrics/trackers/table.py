"""The trackers, by the names that `trackers.use` takes. Prometheus has no row: Ray serves its numbers (`cluster/actors/gauges.py`)."""

from cluster.record.metrics.trackers.to_mlflow import MLflow
from cluster.record.metrics.trackers.to_tensorboard import TensorBoard
from cluster.record.metrics.trackers.to_trackio import Trackio
from cluster.record.metrics.trackers.to_wandb import WandB
from cluster.record.metrics.trackers.tracker import Tracker

TRACKERS: dict[str, type[Tracker]] = {"wandb": WandB, "mlflow": MLflow, "trackio": Trackio, "tensorboard": TensorBoard}
