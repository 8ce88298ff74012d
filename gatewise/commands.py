"""The commands of Gatewise as functions: they take a config, return values, and raise errors that can be caught by type.

They work in a script, in a notebook and in a thread, one at a time in a process.
"""

import os
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

from cluster.record.metrics.metrics import OnStep
from cluster.working_folder import find_modules_in, refuse_hidden_modules
from configs.errors import InputError
from configs.given import Given, Overrides, configured
from configs.home import expanded
from configs.schema import Config
from gatewise.background import in_background
from gatewise.errors import typed_errors
from gatewise.progress import progress_of
from gatewise.run import Run, load_run


class _Heard:
    """The caller's `on_step`, and what it raised: that is the caller's own error and stays as it is."""

    def __init__(self, on_step: OnStep) -> None:
        self.on_step = on_step
        self.raised: Exception | None = None

    def __call__(self, values: dict[str, Any]) -> None:
        try:
            self.on_step(values)
        except Exception as error:
            self.raised = error
            raise


def train(given: Given | Run, overrides: Overrides | None = None, *, progress: bool = True, on_step: OnStep | None = None) -> Run:
    """Train until run.steps and return the run.

    `given` is a TOML file, a shipped recipe's name, a run or its folder, a table or a Config; `overrides` are "key=value" texts or a
    table. `on_step` gets the metrics of every step, in the thread of the run, which waits for it. What it raises stops the run and is
    raised here. Ctrl-C stops everything that was started, then raises KeyboardInterrupt. Any other error is a GatewiseError.
    """
    heard = None if on_step is None else _Heard(on_step)
    try:
        with typed_errors():
            config = _config(given, overrides)
            from cluster.commands.train import train as run_to_the_end

            in_background(lambda stop: run_to_the_end(config, progress_of(config.run.steps, progress), heard, stop))
            return load_run(config.run_dir)
    except Exception:
        if heard is not None and heard.raised is not None:
            raise heard.raised from None
        raise


def evaluate(
    given: Given | Run,
    overrides: Overrides | None = None,
    *,
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Greedy correctness, pass@k and mean@k on every eval set: of a checkpoint, else the newest of run.dir, else the model itself."""
    with typed_errors():
        config = _config(given, overrides)
        from cluster.commands.offline import evaluate_offline

        asked = None if checkpoint is None else str(checkpoint)
        return in_background(lambda stop: evaluate_offline(config, asked, progress_of(config.run.steps, progress), stop))


def export(
    given: Given | Run,
    to: str | PathLike[str],
    overrides: Overrides | None = None,
    *,
    checkpoint: str | PathLike[str] | None = None,
    progress: bool = True,
) -> Path:
    """Write a checkpoint, else the newest of run.dir, as a Hugging Face folder `to`; returns that folder."""
    with typed_errors():
        config = _config(given, overrides)
        from cluster.commands.offline import export_offline

        asked = None if checkpoint is None else str(checkpoint)
        return in_background(lambda stop: export_offline(config, asked, str(to), progress_of(config.run.steps, progress), stop))


def validate(given: Given | Run, overrides: Overrides | None = None) -> list[str]:
    """The lines that the command prints: what follows from a config. An InputError says everything that is wrong; nothing is started."""
    with typed_errors():
        config = _config(given, overrides)
        from cluster.commands.report import report

        lines, found = in_background(lambda _: report(config), with_ray=False)
        found.refuse()
        return lines


def doctor(given: Given | Run | None = None, overrides: Overrides | None = None) -> list[dict[str, str | None]]:
    """What the command finds out about the machine, the installation and a cluster's nodes: name, status, found, do and node of each line.

    Errors among them are not raised: look for the status "error".
    """
    with typed_errors():
        config = None if given is None else _config(given, overrides)
        from cluster.commands.doctor.report import diagnose

        return [asdict(one) for one in in_background(lambda _: diagnose(config))]


def selfcheck(
    given: Given | Run | None = None,
    overrides: Overrides | None = None,
    *,
    full: bool = False,
    gpus: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """What `selfcheck.json` holds: every part of a run tried on this machine. A part that fails raises nothing: look at "passed".

    Without a config it runs the tiny mixture of experts; `full` takes the recipe's own model instead of a small one of its family.
    `gpus` is how many to use: None for those of this machine, 0 for its CPU cores.
    """
    with typed_errors():
        if given is None and (full or overrides):
            raise InputError("full and overrides belong to a config: give one")
        config = None if given is None else _config(given, overrides)
        from cluster.commands.selfcheck.check import Wanted
        from cluster.commands.selfcheck.check import selfcheck as run_selfcheck

        named = "tiny" if config is None else str(given) if isinstance(given, str | PathLike) else "config"
        wanted = Wanted(recipe=config, named=named, full=full, gpus=gpus)
        tell = progress_of(1, progress).say
        return in_background(lambda stop: run_selfcheck(wanted, tell, stop)).as_json()


def engines(given: Run | str | PathLike[str], count: int | str | None = None) -> dict[str, Any]:
    """The engines of a run at work, in this process or another: wanted, and each engine's place, life, health, version and node.

    With `count` the run has so many from now on; "auto" lets their number follow the nodes again. NoRun where no driver works on the run,
    InputError where it cannot have so many.
    """
    with typed_errors():
        from cluster.record.scaling.asking import ask, count_of, status_of

        folder = given.dir if isinstance(given, Run) else expanded(given).absolute()
        status = status_of(folder) if count is None else ask(folder, count_of(str(count)))
        return status.model_dump()


def _config(given: Given | Run, overrides: Overrides | None) -> Config:
    refuse_hidden_modules()
    find_modules_in(os.getcwd())
    return configured(given.config if isinstance(given, Run) else given, overrides)
