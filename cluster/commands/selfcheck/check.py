"""A selfcheck from its recipe to its report.

    recipe ──► sizes, small model, task ──► run 1: learn, lose an engine ──► run 2: resume, lose one in a publish ──► export ──► report

Every number comes from the records of two real runs. A part that fails hides no later part that can still run.
"""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.actors.session import threads_here
from cluster.commands.selfcheck.attempt import Death, Tell, attempt_export, attempt_run
from cluster.commands.selfcheck.evidence import Evidence
from cluster.commands.selfcheck.parts.table import AFTER_EXPORT, AFTER_FIRST, AFTER_SECOND, Part, row_of
from cluster.commands.selfcheck.report import Report, describe
from cluster.commands.selfcheck.rows import Numbers, Row, Status
from cluster.commands.selfcheck.scaled.prepare import Prepared, prepare, refuse_absent_gpus
from cluster.commands.selfcheck.yardstick import Asked, Yardstick, gpus_by_name, measure, measured
from cluster.commands.validate import load_tokenizer
from cluster.record.checkpoint import Checkpoints, read_position
from cluster.stop import Stop
from configs.schema import Config
from rollout.prompts.prompts import load_eval_sets

LIMIT_S = {"cpu": 300.0, "gpu": 600.0, "full": 7200.0}  # of each of the two runs
MOST_ROWS = 8192  # of the matrix product that the learner is compared with
LARGE = ("checkpoints", "exported", "model")  # what a failed selfcheck does not keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a user asks of a selfcheck."""

    recipe: Config | None  # None for the tiny recipe
    named: str  # how the report calls the recipe
    full: bool = False
    gpus: int | None = None  # None for those of this machine
    inside: Path | None = None  # where the temporary folder goes
    keep: bool = False  # the temporary folder


def selfcheck(wanted: Wanted, tell: Tell, stop: Stop | None = None) -> Report:
    """Run every part and return the report. InputError where the recipe cannot be tried here; Stopped where `stop` is asked for."""
    started = time.perf_counter()
    refuse_absent_gpus(wanted.gpus)
    with working_folder(wanted) as folder, without_progress_bars():
        prepared = prepare(wanted.recipe, folder, full=wanted.full, gpus=wanted.gpus)
        for line in prepared.describe():
            tell(line)
        rows = run_parts(prepared, folder, tell, stop or Stop())
        failed = any(row.status is Status.FAIL for row in rows)
        if failed and not wanted.keep:
            for name in LARGE:
                shutil.rmtree(folder / "run" / name if name == LARGE[0] else folder / name, ignore_errors=True)
        kept = failed or wanted.keep
        report = Report(
            recipe=wanted.named,
            full=wanted.full,
            device="gpu" if prepared.gpu else "cpu",
            devices=gpus_by_name(),
            model=prepared.model,
            changed=prepared.changed,
            config=prepared.config.model_dump(),
            rows=rows,
            seconds=time.perf_counter() - started,
            kept=str(folder) if kept else "",
        )
        if not kept:
            shutil.rmtree(folder)
    return report


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep the bars of transformers, which loads and saves small models here, out of the output."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def working_folder(wanted: Wanted) -> Iterator[Path]:
    """A new folder for model, task and runs; it is removed where the selfcheck itself is stopped or refused."""
    folder = Path(tempfile.mkdtemp(prefix="gatewise-selfcheck-", dir=wanted.inside))
    whole = False
    try:
        yield folder
        whole = True
    finally:
        if not whole:
            try:
                shutil.rmtree(folder, ignore_errors=True)
            finally:  # a second Ctrl-C may have ended that half-way
                shutil.rmtree(folder, ignore_errors=True)


def run_parts(prepared: Prepared, folder: Path, tell: Tell, stop: Stop) -> list[Row]:
    """The row of every part, each shown as soon as it is known."""
    config, rows = prepared.config, []

    def judge(parts: tuple[Part, ...]) -> None:
        for part in parts:
            rows.append(row_of(part, found))
            show(rows[-1], tell)

    yardstick, row = measure_machine(prepared)
    rows.append(row)
    show(row, tell)
    limit = LIMIT_S["full" if prepared.full else "gpu" if prepared.gpu else "cpu"]
    victim, several = config.rollout.most_engines - 1, config.rollout.most_engines > 1
    tell("run 1: learn" + (", then lose an engine" if several else ""))
    death = Death(engine=victim, after=config.run.steps - 1) if several else None
    found = Evidence(
        config=config,
        model=prepared.model,
        gpu=prepared.gpu,
        full=prepared.full,
        prompt_tokens=length_of_prompts(config),
        yardstick=yardstick,
        first=attempt_run(config, tell, stop, limit_s=limit, death=death),
    )
    judge(AFTER_FIRST)
    found.resumed_from = newest = Checkpoints(config).newest()
    if newest is not None:
        done = read_position(newest).step
        again = with_run(config, resume="auto", steps=done + 2)
        tell("run 2: resume, then lose an engine in a publish")
        found.second = attempt_run(again, tell, stop, limit_s=limit, death=Death(engine=victim, after=done + 1, in_publish=True))
    judge(AFTER_SECOND)
    if newest is not None and not prepared.full:
        tell("export")
        found.exported = attempt_export(config, folder / "exported", tell, stop)
    judge(AFTER_EXPORT)
    return rows


def with_run(config: Config, **changed: Any) -> Config:
    """The config with other values in `[run]`."""
    return config.model_copy(update={"run": config.run.model_copy(update=changed)})


def show(row: Row, tell: Tell) -> None:
    tell(f"{row.status}: {row.title}{f' ({row.cause})' if row.cause else ''}{f'; {describe(row.numbers)}' if row.numbers else ''}")


def length_of_prompts(config: Config) -> float:
    """Mean number of tokens of the task's prompts, which are all alike."""
    prompts = load_eval_sets(config, load_tokenizer(config))[1].prompts
    return sum(len(prompt.token_ids) for prompt in prompts) / len(prompts)


def measure_machine(prepared: Prepared) -> tuple[Yardstick | None, Row]:
    """What a copy and a matrix product reach here, for the runs to be compared with."""
    config, model = prepared.config, prepared.model
    tokens = config.rollout.groups_per_step * config.rollout.group_size * config.context_tokens // config.learner.updates_per_step
    asked = Asked(
        device="cuda" if prepared.gpu else "cpu",
        dtype=config.model.dtype,
        rows=min(MOST_ROWS, tokens, config.learner.micro_batch_tokens),
        width=int(model["hidden_size"]),
        columns=int(model["intermediate_size"]),
        threads=threads_here(config, prepared.gpu).rank,
    )
    title, stand_in = "copy and matrix product", "" if prepared.gpu else "host memory and CPU cores"
    started = time.perf_counter()
    try:
        found = measured(asked) if prepared.gpu else measure(asked)
    except RuntimeError as error:
        return None, Row(part="machine", title=title, status=Status.FAIL, cause=str(error), stand_in=stand_in)
    numbers: Numbers = {
        "copy_gb_per_s": found.copy_gb_per_s,
        "matmul_tflops": found.matmul_tflops,
        "matmul": f"{asked.rows} x {asked.width} x {asked.columns} {asked.dtype}",
    }
    seconds = time.perf_counter() - started
    return found, Row(part="machine", title=title, status=Status.PASS, seconds=seconds, numbers=numbers, stand_in=stand_in)
