"""Keys of `[trackers]`."""

from typing import Annotated

from pydantic import Field, StrictBool, StrictStr

from configs.section import Int, Positive, Section, Whole

NAMES = ("wandb", "mlflow", "trackio", "tensorboard", "prometheus")
Name = Annotated[StrictStr, Field(min_length=1, max_length=128)]
Port = Annotated[Int, Field(ge=0, le=65535)]


class TrackersConfig(Section):
    """Where else a run's numbers, responses and pictures are shown. Keys and passwords come from the environment alone."""

    use: list[StrictStr] = Field(
        default=[],
        description='trackers of the run: "wandb", "mlflow", "trackio", "tensorboard", "prometheus". One that is down neither slows nor '
        "ends the run",
    )
    project: Name = Field(default="gatewise", description="project at Weights & Biases and Trackio, experiment at MLflow")
    name: Name | None = Field(default=None, description="name of the run there. Left out: that of the folder `run.dir`")
    offline: StrictBool = Field(
        default=False,
        description="no network: Weights & Biases, MLflow and Trackio write to `trackers/` in the run directory instead",
    )
    responses_every: Whole = Field(
        default=10,
        description="steps between tables of sample responses, besides those of the first and the last step. 0 sends none",
    )
    end_s: Positive = Field(default=60, description="longest time in seconds that the end of a run waits for its trackers")
    prometheus_port: Port = Field(
        default=0,
        description="port on loopback for Prometheus, where the run starts Ray itself. 0: a free one, which the run says",
    )
