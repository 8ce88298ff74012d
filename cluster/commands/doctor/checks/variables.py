"""Variables of the environment that change or break runs without a word."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.subject import Subject
from cluster.working_folder import HiddenModule, is_ours, refuse_hidden_modules
from configs.hub import hub_model
from configs.schema import Config

TRUE = ("1", "true", "yes", "on")
# Variable, the values that matter (none: any), whether a run cannot work with it, what it does.
KNOWN = (
    ("PYTHONHOME", (), True, "Python looks for its own library there"),
    ("PYTHONDONTWRITEBYTECODE", (), False, "every process compiles vLLM and torch from source again, a third of its start"),
    ("RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES", TRUE, True, "every engine and rank takes GPU 0"),
    ("CUDA_LAUNCH_BLOCKING", TRUE, False, "the CPU waits for every kernel"),
    ("TORCH_USE_CUDA_DSA", TRUE, False, "kernels are slower"),
    ("VLLM_LOGGING_LEVEL", ("DEBUG", "debug"), False, "engines write several lines a step"),
    ("NVIDIA_TF32_OVERRIDE", ("1",), False, "float32 matrices are multiplied with 10 bits"),
)
LIBRARIES = ("libnccl.so*", "libcudart.so*", "libcublas.so*", "libcudnn.so*", "libstdc++.so*")


def check_variables(subject: Subject) -> Iterator[Finding]:
    """Variables that other software sets, that a shell keeps, or that were set once and forgotten."""
    findings = [*known(), *python_path(), *loaded_first(subject), *of_hub(subject.config), *of_device(subject)]
    yield from findings or [ok("none that changes a run")]


def known() -> Iterator[Finding]:
    """Variables that do the same whatever the run is."""
    for name, values, stops, what in KNOWN:
        given = os.environ.get(name, "")
        if given and (not values or given.lower() in values or given in values):
            yield (error if stops else warning)(f"{name}={given}: {what}", f"unset {name}")
    folder = os.environ.get("TMPDIR")
    if folder and not os.path.isdir(folder):
        do = "make it, or correct TMPDIR"
        yield warning(f"TMPDIR={folder} is no folder; Python uses {tempfile.gettempdir()}, and Ray tries to make it", do)


def python_path() -> Iterator[Finding]:
    """Folders of PYTHONPATH whose modules hide our packages, libraries or Python's own modules."""
    for folder in filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)):
        if not os.path.isdir(folder):
            yield warning(f"PYTHONPATH has {folder}, which is no folder", "correct PYTHONPATH")
            continue
        ours = os.path.join(folder, "cluster")
        if os.path.isdir(ours) and is_ours(ours):  # the checkout itself
            continue
        try:
            refuse_hidden_modules(folder)
        except HiddenModule as hidden:
            yield error(f"PYTHONPATH: {str(hidden).partition(', because')[0]}", "unset PYTHONPATH, or remove that folder from it")


def loaded_first(subject: Subject) -> Iterator[Finding]:
    """Libraries that are loaded before, or instead of, those that torch brings."""
    for library in os.environ.get("LD_PRELOAD", "").replace(":", " ").split():
        if "/" in library and not Path(library).is_file():
            yield error(f"LD_PRELOAD names {library}, which does not exist; every process prints an error", "unset LD_PRELOAD")
        else:
            yield warning(f"LD_PRELOAD loads {library} into every process", "unset LD_PRELOAD unless you mean it")
    if not (subject.torch and subject.torch.cuda):
        return
    for folder in filter(None, os.environ.get("LD_LIBRARY_PATH", "").split(":")):
        found = sorted(path.name for pattern in LIBRARIES for path in Path(folder).glob(pattern))
        if found:
            what = f"LD_LIBRARY_PATH has {folder} with {', '.join(found[:3])}, which may be loaded instead of torch's own"
            yield warning(what, "remove that folder from LD_LIBRARY_PATH")


def of_hub(config: Config | None) -> Iterator[Finding]:
    """An offline hub with a model that is named by its hub id."""
    given = [name for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE") if os.environ.get(name, "").lower() in TRUE]
    if not given or config is None:
        return
    for key, path in (("model.path", config.model.path), ("kl.reference", str(config.kl.reference or ""))):
        if key == "kl.reference" and path in ("", "initial"):
            continue
        if asked := hub_model(path):
            do = f"unset {given[0]}, or run `hf download {asked.name}` where there is a network and set HF_HOME to that cache"
            yield warning(f"{given[0]} is set, and {key} is the hub id {asked}: it must be in the cache already", do)


def of_device(subject: Subject) -> Iterator[Finding]:
    """Variables that keep a run from the GPUs that it asks for."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if subject.device == "gpu" and hidden is not None and hidden.strip() in ("", "-1", "NoDevFiles"):
        yield error(f'CUDA_VISIBLE_DEVICES="{hidden}" hides all GPUs, and run.device is "gpu"', "unset CUDA_VISIBLE_DEVICES")
    given = os.environ.get("DS_ACCELERATOR", "cuda")
    if given == "cpu" and subject.on_gpu:
        yield error("DS_ACCELERATOR=cpu keeps DeepSpeed from the GPUs", "unset DS_ACCELERATOR")
    if given not in ("cpu", "cuda"):
        yield error(f"DS_ACCELERATOR={given}: Gatewise trains on cuda or cpu", "unset DS_ACCELERATOR")
