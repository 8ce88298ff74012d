"""Makes runs ill on purpose and shows what health says first: `python -m benchmarks.health [NAME ...] [--healthy] [--to FOLDER]`.

It needs the models of `make tiny`, and for tools and games those of `make train-tool` and `make train-game`. A run that has finished in the
folder is not repeated. `--in-process` makes each run in seconds without Ray and vLLM; illnesses of time are left out then. `--replay RUN
...` reads finished runs instead and says what today's rules find in their metrics.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.health.replay import replay
from benchmarks.health.settings import HEALTHY, ILL, Setting
from benchmarks.rounds import ROOT
from cluster.record.health_log import read_health
from cluster.record.metrics.metrics import read_metrics

FOLDER = ROOT / "runs" / "health"
LONGEST_S = 1800
Found = tuple[str, str, str]  # first rule, its step, all rules


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for, print a table; the exit status is 1 where a first rule is not the expected one."""
    asked = parsed(argv)
    if asked.replay:
        for folder in asked.replay:
            print(f"{folder}: {len(found := replay(folder))} found")
            print("".join(f"  step {step}: {rule}: {finding.message}\n" for step, rule, finding in found), end="")
        return 0
    settings = [one for one in (*ILL, *HEALTHY) if wanted(one, asked) and not (asked.in_process and one.timed)]
    table = Table("setting", "expected", "first", "step", "all", "seconds", "")
    right = 0
    for setting in settings:
        folder = folder_of(setting, asked.to)
        seconds, ended = carry_out(setting, folder, in_process=asked.in_process)
        first, step, every = found_in(folder)
        fits = first == setting.rule and not ended
        right += fits
        table.add_row(
            setting.name, setting.rule or "none", first or "none", step, every, f"{seconds:.0f}", ended or ("" if fits else "other")
        )
        print(f"{setting.name}: expected {setting.rule or 'none'}, first {first or 'none'} {step} {ended}", flush=True)
    Console(width=140).print(table)
    print(f"{right} of {len(settings)} as expected")
    return int(right < len(settings))


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.health", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="words of a setting's name, or its rule; all ill runs by default")
    parser.add_argument("--healthy", action="store_true", help="the healthy runs too; alone, only those")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the runs")
    parser.add_argument("--in-process", action="store_true", help="one process, and torch in place of Ray and vLLM")
    parser.add_argument("--replay", nargs="+", type=Path, metavar="RUN", help="say what the rules find in finished runs")
    return parser.parse_args(argv)


def wanted(setting: Setting, asked: argparse.Namespace) -> bool:
    """Whether a setting is asked for."""
    if asked.names:
        return any(name in (setting.name, setting.rule) or name in setting.name.split() for name in asked.names)
    return not setting.rule if asked.healthy else bool(setting.rule)


def folder_of(setting: Setting, to: Path) -> Path:
    """Where a setting's run lies."""
    return to / setting.name.replace(" ", "_").replace(",", "").replace(".", "_")


def carry_out(setting: Setting, folder: Path, *, in_process: bool) -> tuple[float, str]:
    """Train unless it is done: the seconds, and why it did not reach its last step, empty if it did."""
    started = time.monotonic()
    if not finished(setting, folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        (forked if in_process else trained)(setting, folder)
    ended = "" if finished(setting, folder) else f"ended early: {folder.with_suffix('.log')}"
    return time.monotonic() - started, ended


def trained(setting: Setting, folder: Path) -> None:
    """The run as users make it."""
    with folder.with_suffix(".log").open("w") as log:
        command = [sys.executable, "-m", "cluster", "train", *setting.arguments, f"run.dir={folder}", "run.resume=auto"]
        subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=LONGEST_S, check=False)


def forked(setting: Setting, folder: Path) -> None:
    """The run in one process."""
    from benchmarks.health.in_process import carry_out as here  # loads torch and vLLM, which nothing else here needs

    here(setting.arguments, folder)


def finished(setting: Setting, folder: Path) -> bool:
    """Whether the run has its last step."""
    rows = read_metrics(folder) if (folder / "metrics.jsonl").exists() else []
    return bool(rows) and rows[-1]["step"] >= setting.steps


def found_in(folder: Path) -> Found:
    """The first rule of a run, its step, and all rules in their order."""
    periods = read_health(folder)
    if not periods:
        return "", "", ""
    return periods[0].rule, str(periods[0].first), " ".join(dict.fromkeys(period.rule for period in periods))


if __name__ == "__main__":
    sys.exit(main())
