"""What the checks look at: this machine, this installation and, where there is one, a config."""

from dataclasses import dataclass
from functools import cached_property

from cluster.actors.places.nvidia import Nvidia, ask_nvidia
from cluster.actors.places.torch_build import TorchBuild, torch_build
from cluster.commands.doctor.installed import Installed, installed
from configs.schema import Config


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The facts that several checks need are read once."""

    config: Config | None = None
    joins: bool = False  # the run goes to the cluster of RAY_ADDRESS, so engines and ranks may run on other machines

    @cached_property
    def torch(self) -> TorchBuild | None:
        """The installed torch; None where there is none."""
        return torch_build()

    @cached_property
    def installed(self) -> Installed:
        return installed()

    @cached_property
    def nvidia(self) -> Nvidia:
        return ask_nvidia()

    @property
    def device(self) -> str:
        """The run's `run.device`, "auto" without a config."""
        return self.config.run.device if self.config else "auto"

    @property
    def on_gpu(self) -> bool:
        """Whether engines and ranks would take the GPUs of this machine."""
        return self.device != "cpu" and bool(self.torch and self.torch.cuda and self.nvidia.visible)
