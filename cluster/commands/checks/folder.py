"""Whether `run.dir` can take a run: it can be made and written, and its disk has room."""

import shutil
import tempfile
from pathlib import Path

from configs.arithmetic import GB, MOMENT_BYTES, model_config, weight_bytes
from configs.parameters import Parameters, count_parameters
from configs.schema import Config

MB = 1e6


def check_folder(config: Config) -> list[str]:
    """Warnings about run.dir; ValueError if the run could not write there. Leaves no trace."""
    refuse_place(config)
    refuse_unwritable(config.run_dir)
    parameters = count_parameters(model_config(config))
    return [] if parameters is None else check_room(config, checkpoint_bytes(config, parameters))


def refuse_place(config: Config) -> None:
    """Raise ValueError if run.dir cannot be a path here, or lies where it would mix with a model or with checkpoints."""
    folder = config.run_dir
    try:
        real = folder.resolve()
        folder.is_dir()
    except (OSError, RuntimeError) as error:  # a name that is too long, a link to itself
        said = getattr(error, "strerror", None) or error
        raise ValueError(f"run.dir {folder} cannot be a path here ({said}): choose another run.dir") from error
    model = Path(config.model.path)
    if (model / "config.json").is_file() and real.is_relative_to(model.resolve()):
        raise ValueError(
            f"run.dir {folder} is in the folder of model.path {model}, whose files a run must not mix with its own: choose another run.dir"
        )
    for above in (real, *real.parents):
        if above.name == "checkpoints" and (above.parent / "config.toml").is_file():
            raise ValueError(
                f"run.dir {folder} is in the checkpoints of the run {above.parent}, which deletes old ones: choose another run.dir, "
                'or continue that run with run.resume = "auto"'
            )


def refuse_unwritable(folder: Path) -> None:
    """Raise ValueError if the folder cannot be made, or nothing can be written in it."""
    above = nearest(folder)
    if not above.is_dir():
        raise ValueError(f"run.dir {folder} cannot be a folder, because {above} is a file: choose another run.dir")
    try:
        with tempfile.TemporaryFile(dir=above) as file:
            file.write(b"0")
    except OSError as error:
        raise ValueError(
            f"run.dir {folder} cannot be written ({error.strerror or error} in {above}): choose another run.dir, or free this one"
        ) from error


def check_room(config: Config, each: int) -> list[str]:
    """A warning if `run.keep_checkpoints` checkpoints of `each` bytes do not fit on the disk; ValueError if not even one does."""
    free, kept = shutil.disk_usage(nearest(config.run_dir)).free, config.run.keep_checkpoints
    room = f"the disk of run.dir {config.run_dir} has {in_bytes(free)} free, and a checkpoint takes about {in_bytes(each)}"
    if free < each:
        raise ValueError(f"{room}: free it, or choose a run.dir on another disk")
    there, run = len(list(config.run_dir.glob("checkpoints/step_*"))), config.run
    for_ever = run.steps // run.keep_every if run.keep_every else 0
    needed = max(1, kept + for_ever + 1 - there)  # a new one is written whole before the oldest is deleted
    if free < needed * each:
        keys = f"run.keep_checkpoints = {kept}" + (f" with run.keep_every = {run.keep_every}" if for_ever else "")
        return [f"{room}; {keys} needs room for {needed} more: change it, or choose a run.dir on another disk"]
    return []


def checkpoint_bytes(config: Config, parameters: Parameters) -> int:
    """Bytes of one checkpoint, all ranks together: float32 weights and both moments, and a reference that is renewed."""
    return parameters.total * (3 * MOMENT_BYTES + (weight_bytes(config) if config.kl.refresh_every else 0))


def nearest(folder: Path) -> Path:
    """The folder itself, or what exists of the path above it."""
    while not exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def exists(path: Path) -> bool:
    """Whether a path is there; one that is too long for the file system is not."""
    try:
        return path.exists()
    except OSError:
        return False


def in_bytes(count: float) -> str:
    return f"{count / GB:.3g} GB" if count >= GB else f"{count / MB:.3g} MB"
