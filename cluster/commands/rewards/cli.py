"""The commands `gatewise rewards check` and `gatewise rewards audit`: whether a run's rewards are right, before it and after it."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cluster.record.progress.harmless import say
from configs.arithmetic import counted
from configs.section import Section
from configs.sections.data import DataConfig
from configs.sections.reward import RewardConfig

SHOWN = 20

EPILOG = """
Before a run: does each row's right answer pass the row's own checker? A row that fails teaches that right is wrong.

  gatewise rewards check train.jsonl                                      each checker makes a right answer from the reference
  gatewise rewards check train.jsonl --solution-field solution            the rows have one: a whole response, not only its end
  gatewise rewards check openai/gsm8k:main --split test --reference-field answer --solution-field answer
  gatewise rewards check train.jsonl --checker my_reward.py:score         a function of your own
  gatewise rewards check mixed.parquet --checker-field checker            rows name their checkers

After a run: do its checkers still give the rewards that it learned from? A difference means a checker that is not a
function of its arguments, a checker that was changed, or a limit of time or memory that was hit.

  gatewise rewards audit runs/first

Episodes are run again from their transcripts: an environment that says other words now is named with both. Tools are not asked
again, and held environments are not run again; the last lines say how many that were.

Both exit 1 where something differs, and list it; neither starts Ray nor needs a GPU.
"""

CHECK = """Score each row's right answer with the row's checker, and list the rows where it does not get reward 1. Without
--solution-field, score the right answer in other words too, and near misses of it, which must get 0; list references that the
checker does not understand whole and compares as text."""
AUDIT = """Score the responses that a run kept (run.sample_responses a step) again, with the run's own config, and list those whose reward
is different now. Checkers that are services (judge, http) are asked again."""


class RewardsDiffer(ValueError):
    """The check found differences, which are printed above."""


def add_rewards(commands: Any) -> None:
    """Add `rewards` and its two commands to the command line."""
    shape = argparse.RawDescriptionHelpFormatter
    rewards = commands.add_parser(
        "rewards", help="check a dataset's checkers, audit a run's rewards", description=__doc__, epilog=EPILOG, formatter_class=shape
    )
    kinds = rewards.add_subparsers(required=True, metavar="check|audit")
    check = kinds.add_parser("check", help="does every right answer pass its own checker", description=CHECK)
    check.add_argument("dataset", help="a file, a folder, a pattern or a dataset id, as data.train takes them")
    check.add_argument("--split", default=default(DataConfig, "split"), help="split of a Hugging Face dataset id (%(default)s)")
    known = 'checker of rows that name none: a name, "path/to/file.py:function" or "package.module:function" (%(default)s)'
    check.add_argument("--checker", default=default(RewardConfig, "checker"), help=known)
    check.add_argument("--checker-field", help="field that names a row's checker")
    compared = "field that the checker compares with (%(default)s)"
    check.add_argument("--reference-field", default=default(DataConfig, "reference_field"), help=compared)
    asked = "field of the question, for a function of your own that asks for prompt (%(default)s)"
    check.add_argument("--prompt-field", default=default(DataConfig, "prompt_field"), help=asked)
    check.add_argument("--solution-field", help="field of a right response; without it the checker makes one from the reference")
    strict = "fail also where a reference is not understood whole; else only where none is"
    check.add_argument("--strict", action="store_true", help=strict)
    check.add_argument("--limit", type=count, help="check the first so many rows")
    check.add_argument("--workers", type=count, default=len(os.sched_getaffinity(0)), help="processes that score (one a core)")
    limit = "longest time one row may take, as reward.timeout_s (%(default)g)"
    check.add_argument("--timeout", type=seconds, default=default(RewardConfig, "timeout_s"), help=limit)
    space = "address space of one process, as reward.memory_mb (%(default)s)"
    check.add_argument("--memory-mb", type=count, default=default(RewardConfig, "memory_mb"), help=space)
    check.set_defaults(run=run_check)
    audit = kinds.add_parser("audit", help="does a run's scoring give the same rewards again", description=AUDIT)
    audit.add_argument("run_dir", metavar="RUN", help="run.dir of a run")
    audit.set_defaults(run=run_audit)
    for command in (check, audit):
        command.add_argument("--all", action="store_true", help=f"list everything, not the first {SHOWN}")


def default(section: type[Section], key: str) -> Any:
    """The default of a key in the config of a run."""
    return section.model_fields[key].default


def run_check(asked: argparse.Namespace) -> None:
    """Print the rows that fail and the totals; RewardsDiffer where there is one."""
    from cluster.commands.rewards.gold_check import Fields, Pool, check_gold

    fields = Fields(
        checker=asked.checker,
        reference=asked.reference_field,
        named_checker=asked.checker_field,
        solution=asked.solution_field,
        prompt=asked.prompt_field,
    )
    pool = Pool(workers=asked.workers, timeout_s=asked.timeout, memory_mb=asked.memory_mb)
    report = check_gold(asked.dataset, asked.split, fields, pool, asked.limit, progress("responses"))
    tried = report.tried
    show("rows whose right answer does not pass", report.failed, asked.all)
    show("right answers that do not pass in other words", tried.refused, asked.all)
    show("near misses that are accepted", tried.accepted, asked.all)
    show("references that are not understood whole", tried.not_understood, asked.all)
    say(report.summary)
    if tried.golds or tried.misses:
        say(tried.summary)
    if report.failed:
        raise RewardsDiffer(
            f"{len(report.failed)} of {counted(report.rows, 'row')} failed the row's own checker: "
            "correct or drop them, or choose a checker that fits them"
        )
    if tried.refused or tried.accepted:
        raise RewardsDiffer(
            f"{counted(len(tried.refused_rows), 'right answer')} did not pass in other words, {len(tried.accepted)} near "
            f"{'miss was' if len(tried.accepted) == 1 else 'misses were'} accepted: drop these rows, or choose a checker that fits them"
        )
    if tried.not_understood and (asked.strict or len(tried.not_understood) == report.rows):
        raise RewardsDiffer(
            f"{len(tried.not_understood)} of {counted(report.rows, 'reference')} not understood whole, so only the same text is right: "
            "write them as plain mathematics, or use the checker 'match'"
        )


def run_audit(asked: argparse.Namespace) -> None:
    """Print what differs and the totals; RewardsDiffer where a reward does."""
    from cluster.commands.rewards.audit import audit

    report = audit(Path(asked.run_dir), progress("responses"))
    show("environments that say something else now", report.diverged, asked.all)
    show("rewards that are different now", report.different, asked.all)
    show("failures that are scored now", report.now_scored, asked.all)
    show("rewards that fail now", report.now_failed, asked.all)
    for line in report.summary:
        say(line)
    if report.diverged:
        raise RewardsDiffer(
            f"{len(report.diverged)} of {counted(report.episodes, 'episode')} went another way: the environment is not a function of what "
            "was said in it and of its seed, or was changed since the run"
        )
    if report.different:
        raise RewardsDiffer(
            f"{len(report.different)} of {report.kept} rewards differ: their checker is not a function of its arguments, or was changed "
            "since the run"
        )


def show(title: str, lines: Sequence[str], everything: bool) -> None:
    """Print the lines under their title, if there are any; only the first ones unless `everything`."""
    if not lines:
        return
    print(f"{title}:")
    shown = lines if everything else lines[:SHOWN]
    for line in shown:
        say(f"  {line}")
    if len(shown) < len(lines):
        print(f"  … and {len(lines) - len(shown)} more: --all lists them")


def progress(what: str) -> Callable[[int, int], None]:
    """A function that reports progress on stderr: one line that is redrawn on a terminal, else ten lines."""
    redrawn, tenths = sys.stderr.isatty(), [0]

    def tell(done: int, of: int) -> None:
        if redrawn:
            print(f"\rscored {done} of {of} {what}", end="\n" if done == of else "", file=sys.stderr, flush=True)
        elif 10 * done // of > tenths[0]:
            tenths[0] = 10 * done // of
            print(f"scored {done} of {of} {what}", file=sys.stderr, flush=True)

    return tell


def count(text: str) -> int:
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text}, needed at least 1")
    return number


def seconds(text: str) -> float:
    """A number above 0."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text}, needed a number above 0")
    return number
