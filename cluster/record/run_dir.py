"""The run directory: its contents, and who may write to it.

config.toml  ledger.db  metrics.jsonl  layers.jsonl  reward.png  experts.npz  experts.png  checkpoints/  responses/  disagreements/
quarantine/  logs/  lock
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from configs.errors import CheckpointError, RunDirTaken
from configs.loader import dump, load
from configs.schema import Config


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
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise RunDirTaken(
                f"run.dir {folder} is in use by another driver (process {holder}): wait for it, stop it, or choose another run.dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield folder


def refuse_other_run(config: Config) -> None:
    """Raise RunDirTaken if run.dir already has a run that this one does not continue."""
    kept = config.run_dir / "config.toml"
    if kept.exists() and config.run.resume == "never":
        raise RunDirTaken(f'run.dir {config.run_dir} already holds a run: choose another run.dir, or continue it with run.resume="auto"')


def refuse_unknown_resume(config: Config) -> None:
    """Raise ValueError if run.resume is none of its words and no folder."""
    asked = config.run.resume
    if asked not in ("never", "auto") and not Path(asked).is_dir():
        raise CheckpointError(
            f'run.resume got "{asked}", needed "never" (a new run), "auto" (the newest whole checkpoint of run.dir) or a checkpoint '
            f"folder, and {Path(asked).absolute()} is no folder: use one of these"
        )


# What may differ between a run and its continuation: how long it lasts and what it writes, never what it learns.
FREE_TO_CHANGE = (
    "run.steps", "run.resume", "run.dir", "run.save_every", "run.keep_checkpoints", "run.eval_every", "run.sample_responses",
    "run.tensorboard", "run.deadline_s", "mismatch.share", "mismatch.alarm", "mismatch.patience", "mismatch.on_alarm",
    "reward.workers", "reward.nodes", "reward.max_waiting", "reward.second", "reward.keep_disagreements", "reward.warn_failures",
    "judge.concurrency", "judge.timeout_s", "judge.retries", "judge.budget", "judge.key_env",
    "http.concurrency", "http.timeout_s", "http.retries", "http.budget", "http.key_env",
)  # fmt: skip


def flat(table: dict[str, object], prefix: str = "") -> dict[str, object]:
    """A nested table as dotted keys."""
    out: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            out |= flat(value, f"{prefix}{key}.")
        else:
            out[prefix + key] = value
    return out


# Keys that must equal the checkpoint's to load it, for training and for anything else.
NEEDED_TO_LOAD = ("model.", "learner.ranks", "learner.expert_parallel", "learner.deepspeed")


def changes(kept: Config, now: Config, within: tuple[str, ...] = ("",)) -> list[str]:
    """A line for each difference that a continued run may not have, among keys that begin with one of `within`."""
    before, after = flat(kept.model_dump()), flat(now.model_dump())
    fixed = [key for key in sorted(before | after) if key not in FREE_TO_CHANGE and key.startswith(within)]
    return [f"  {key}: {before.get(key)!r} in the run, {after.get(key)!r} now" for key in fixed if before.get(key) != after.get(key)]


def refuse_changed_config(kept: Config, now: Config, what: Path | None = None) -> None:
    """Raise ValueError, with every difference, if a continued run would learn differently from how it began."""
    if lines := changes(kept, now):
        listed = "\n".join(lines)
        raise CheckpointError(
            f"{what or now.run_dir} cannot be resumed with another config:\n{listed}\nset these back, or start a new run in another run.dir"
        )


def config_of(checkpoint: Path) -> Config | None:
    """The config of the run that wrote a checkpoint; None if the folder is in no run directory."""
    kept = checkpoint.parent.parent / "config.toml"
    return load(kept) if kept.exists() else None


def write_config(config: Config) -> None:
    """Write the resolved config into the run directory."""
    aside = config.run_dir / "config.toml.tmp"
    aside.write_text(dump(config))
    aside.replace(config.run_dir / "config.toml")
