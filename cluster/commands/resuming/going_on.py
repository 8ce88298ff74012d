"""The last line of a run that ended early: the command that continues it."""

import os
import shlex
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.actors.session import joins_cluster
from cluster.record.checkpoint import Checkpoints, read_position
from cluster.record.ledger import finished_steps
from configs.schema import Config

RESUME = "run.resume"


def how_to_continue(config: Config, config_file: str, overrides: Sequence[str]) -> str:
    """A line for the user: where the run stands, and the command that continues it with the same settings."""
    try:
        return _describe(config, config_file, overrides)
    except (OSError, sqlite3.Error) as error:  # what ended the run may be the disk itself
        return f"gatewise: what {config.run_dir} holds cannot be read ({error})"


def to_continue(config_file: str, overrides: Sequence[str]) -> str:
    """The command that continues a run with the same settings."""
    kept = [text for text in overrides if text.partition("=")[0].strip() != RESUME]
    return shlex.join([*program(), "train", config_file, *kept, f"{RESUME}=auto"])


def _describe(config: Config, config_file: str, overrides: Sequence[str]) -> str:
    newest = Checkpoints(config).newest(read=False)  # the next start reads it whole
    command = to_continue(config_file, overrides)
    if newest is not None:
        step = read_position(newest, read=False).step
        if step >= config.run.steps:
            return f"gatewise: all {step} steps are learned and saved in {newest}"
        return f"gatewise: step {step} is saved; to continue after it: {command}"
    if finished_steps(config.run_dir / "ledger.db"):
        return f"gatewise: no checkpoint was written; to start again from the first step: {command}"
    return f"gatewise: no step was finished, so nothing is saved and {config.run_dir} may be used again"


def program() -> list[str]:
    """The words that started this process, as far as the subcommand."""
    if joins_cluster():
        return shlex.split("ray job submit --working-dir . -- python -m cluster")
    if Path(sys.argv[0]).name != "__main__.py":
        return [sys.argv[0]]
    python = Path(sys.executable)
    here = Path.cwd()
    return [os.fspath(python.relative_to(here) if python.is_relative_to(here) else python), "-m", "cluster"]
