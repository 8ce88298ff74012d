"""A machine with GPUs as the libraries see it: Python imports this at its start, and Ray and vLLM then count GATEWISE_TEST_GPUS GPUs."""

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

GPUS = int(os.environ["GATEWISE_TEST_GPUS"])


def see_gpus(module: ModuleType) -> None:
    """NVML answers as on a machine with GPUs."""
    module.nvmlInit = module.nvmlShutdown = lambda: None
    module.nvmlDeviceGetCount = lambda: GPUS


class Patched(MetaPathFinder, Loader):
    """Loads both libraries' copies of NVML's wrapper, and changes them before anything uses them."""

    names = ("ray._private.thirdparty.pynvml.pynvml", "vllm.third_party.pynvml")

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname not in self.names:
            return None
        self.found = PathFinder.find_spec(fullname, path)
        spec = ModuleSpec(fullname, self, origin=self.found.origin)
        spec.has_location = True
        return spec

    def exec_module(self, module: ModuleType) -> None:
        self.found.loader.exec_module(module)
        see_gpus(module)


sys.meta_path.insert(0, Patched())
