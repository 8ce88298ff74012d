"""Writes the report of one or several runs as a file that opens without a network."""

from collections.abc import Sequence
from pathlib import Path

from cluster.record.saves.asked import write_aside
from cluster.report.assemble import assemble
from cluster.report.files import open_runs
from cluster.report.pages.registry import PAGES

REPORT = "report.html"
BEGINS = (b"<!doctype html>",)


def make_report(folders: Sequence[Path], *, ended: bool = False, live: str = "") -> str:
    """The HTML of a report; NoRun for a folder without a run."""
    runs = open_runs(folders, ended=ended)
    return assemble(runs, [make(runs) for make in PAGES], live=live)


def write_report(folders: Sequence[Path], to: Path | None = None, *, ended: bool = False) -> Path:
    """Write the report, by default into the first run's folder; a reader never sees half a file."""
    path = to or folders[0] / REPORT
    write_aside(path, make_report(folders, ended=ended).encode("utf-8", errors="replace"))
    return path
