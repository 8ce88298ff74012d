"""The run directory: its contents, and who may write to it.

config.toml  config.N.toml  template.jinja  ledger.db  metrics.jsonl  layers.jsonl  health.jsonl  timeline.jsonl  nodes.json  engines.json
engines-status.json  reward.png  report.html  experts.npz  experts.png  checkpoints/  capsules/  responses/  disagreements/
quarantine/  logs/  tensorboard/  trackers/  unstarted-N/  lock
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import IO

from cluster.models.recorded import recorded
from cluster.record.changes import changes
from cluster.record.ledger import finished_steps
from cluster.record.saves.replace import replace_text
from configs.errors import CheckpointError, RunDirTaken
from configs.home import expanded
from configs.loader import dump, load
from configs.schema import Config
from configs.version import VERSION
from rollout.chat.template import read_template


@contextmanager
def lock_run_dir(config: Config) -> Iterator[Path]:
    """Lock the run directory against a second driver; raises RunDirTaken if another one holds the lock.

    The lock ends with this process, so a killed driver leaves none behind.
    """
    folder = config.run_dir
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken(folder, lock) from None
        except OSError as error:
            raise without_locks(folder, error) from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield folder


def refuse_locked(config: Config) -> None:
    """Raise RunDirTaken if another driver holds the lock of run.dir; takes and writes nothing."""
    path = config.run_dir / "lock"
    if not path.is_file():
        return
    with path.open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken(config.run_dir, lock) from None
        except OSError as error:
            raise without_locks(config.run_dir, error) from error


def taken(folder: Path, lock: IO[str]) -> RunDirTaken:
    """The error that names the process which holds the lock."""
    lock.seek(0)
    holder = lock.read().strip() or "unknown"
    return RunDirTaken(f"run.dir {folder} is in use by another driver (process {holder}): wait for it, stop it, or choose another run.dir")


def without_locks(folder: Path, error: OSError) -> RunDirTaken:
    """The error of a file system that refuses to lock: a second driver could not be kept out, and the ledger's database needs locks too."""
    return RunDirTaken(
        f"run.dir {folder} lies on a file system without file locks (flock: {error.strerror}), so a second driver could write to it, and "
        "its ledger could not be read while the run works: choose a run.dir on a disk of this machine, or mount the file system with "
        "locks (NFS: version 4, or version 3 with lockd and without nolock; Lustre: -o flock)"
    )


def refuse_other_run(config: Config) -> None:
    """Raise RunDirTaken if run.dir already has a run that this one does not continue."""
    kept = config.run_dir / "config.toml"
    if kept.exists() and config.run.resume == "never" and not never_began(config.run_dir):
        raise RunDirTaken(f'run.dir {config.run_dir} already holds a run: choose another run.dir, or continue it with run.resume="auto"')


def refuse_unknown_resume(config: Config) -> None:
    """Raise ValueError if run.resume is none of its words and no folder."""
    asked = config.run.resume
    if asked not in ("never", "auto") and not expanded(asked).is_dir():
        raise CheckpointError(
            f'run.resume got "{asked}", needed "never" (a new run), "auto" (the newest whole checkpoint of run.dir) or a checkpoint '
            f"folder, and {expanded(asked).absolute()} is no folder: use one of these"
        )


WRITTEN_BY = "# Gatewise"  # the first line of config.toml goes on with the version

# All that a run writes into its directory but the lock.
WRITTEN = (
    "config.toml", "template.jinja", "ledger.db", "ledger.db-wal", "ledger.db-shm", "metrics.jsonl", "layers.jsonl", "health.jsonl",
    "warnings.jsonl", "nodes.json", "engines.json", "engines-status.json", "reward.png", "report.html", "experts.npz", "experts.png",
    "timeline.jsonl", "checkpoints", "capsules",
    "responses", "disagreements", "quarantine", "logs", "tensorboard", "trackers",
)  # fmt: skip


def never_began(folder: Path) -> bool:
    """Whether a run directory has a run that ended before its first step was finished, so that nothing is lost with it."""
    return (folder / "config.toml").exists() and not list(folder.glob("checkpoints/step_*")) and finished_steps(folder / "ledger.db") == 0


def refuse_changed_template(config: Config, checkpoint: Path | None) -> None:
    """Raise ValueError if the chat template's text is not the one that the run of the checkpoint began with."""
    if checkpoint is None or not config.data.template_file:
        return
    kept = checkpoint.parent.parent / config.template_copy.name
    if kept.is_file() and kept.read_text(encoding="utf-8") != read_template(config.data.template_file):
        raise ValueError(
            f"data.template_file {config.data.template_file} has changed since the run began, so its prompts would change: "
            f'continue with the run\'s own copy, data.template_file = "{kept}", or start a new run in another run.dir'
        )


def set_aside(folder: Path) -> Path:
    """Move all that a run wrote into a new folder `unstarted-N` of its directory."""
    aside = _unused(folder, "unstarted-{}")
    aside.mkdir()
    for name in WRITTEN:
        if (folder / name).exists():
            (folder / name).rename(aside / name)
    return aside


def write_config(config: Config) -> None:
    """Write the resolved config into the run directory, with the version that wrote it, and a copy of its chat template.

    The config of an earlier attempt becomes `config.N.toml` if it differs.
    """
    path = config.run_dir / "config.toml"
    if path.exists() and changes(load(path), config):
        shutil.copy2(path, _unused(config.run_dir, "config.{}.toml"))
    replace_text(path, f"{WRITTEN_BY} {VERSION}\n{dump(recorded(config))}")
    if config.data.template_file:
        config.template_copy.write_text(read_template(config.data.template_file), encoding="utf-8")


def _unused(folder: Path, pattern: str) -> Path:
    """The first path of the pattern that does not exist, counting from 1."""
    return next(path for number in count(1) if not (path := folder / pattern.format(number)).exists())
