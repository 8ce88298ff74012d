"""Names the figures of a run of benchmarks that are worse than their bands in `benchmarks/figures.json`.

{"learner": {"Learner.step / bare torch": {"usual": 1.19, "at_most": 1.3}}}    or "at_least", where more is better

A figure is the median of its rounds. Bands are for ratios, which another machine changes little. Without a usual value the limit is a goal
that no quiet run has been kept for yet.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.rounds import ROOT, Row

FIGURES = ROOT / "benchmarks" / "figures.json"
MARGIN = 0.05  # of the median, by which a band is wider at least: a figure with one round has no spread
DIGITS = 3
EDGES = ("at_most", "at_least")


@dataclass(frozen=True, slots=True)
class Band:
    """Where a figure may lie: above or below its usual value as far as `limit`."""

    usual: float | None
    edge: str  # of EDGES
    limit: float

    def holds(self, figure: float) -> bool:
        """Whether a figure is no worse than the limit; NaN is worse."""
        return figure <= self.limit if self.edge == "at_most" else figure >= self.limit

    def renewed(self, row: Row) -> "Band":
        """The band of a run that is to be the reference: as far as its worst round."""
        least, usual, most = row.spread
        limit = max(most, usual * (1 + MARGIN)) if self.edge == "at_most" else min(least, usual * (1 - MARGIN))
        return Band(usual=usual, edge=self.edge, limit=limit)

    def as_json(self) -> dict[str, float]:
        """Its entry in the file."""
        usual = {} if self.usual is None else {"usual": shortened(self.usual)}
        return usual | {self.edge: shortened(self.limit)}


Bands = dict[str, dict[str, Band]]  # by benchmark and figure


def read_bands(path: Path = FIGURES) -> Bands:
    """The bands of every guarded figure; ValueError where an entry is none."""
    return {
        benchmark: {what: read_band(entry, f"{path.name}, {benchmark}, {what!r}") for what, entry in figures.items()}
        for benchmark, figures in json.loads(path.read_text()).items()
    }


def read_band(entry: Mapping[str, Any], where: str) -> Band:
    """One band; ValueError where it is none."""
    edges = [edge for edge in EDGES if edge in entry]
    if len(edges) != 1 or not set(entry) <= {"usual", *edges} or not all(type(number) in (int, float) for number in entry.values()):
        raise ValueError(f"{where}: needed a number for one of {' and '.join(EDGES)}, and may have one for usual, got {dict(entry)}")
    return Band(usual=entry.get("usual"), edge=edges[0], limit=entry[edges[0]])


def write_bands(bands: Bands, path: Path = FIGURES) -> None:
    """Write the file, a line for each figure, so that a change of one shows as one."""
    blocks = []
    for benchmark, figures in bands.items():
        lines = [f"  {json.dumps(what)}: {json.dumps(band.as_json())}" for what, band in figures.items()]
        blocks.append(f" {json.dumps(benchmark)}: {{\n" + ",\n".join(lines) + "\n }")
    path.write_text("{\n" + ",\n".join(blocks) + "\n}\n")


def worse(bands: Mapping[str, Band], rows: Sequence[Row], *, whole: bool) -> list[str]:
    """What is wrong with the guarded figures of a benchmark, a text each. With `whole` a figure that was not measured is wrong too."""
    found = {row.what: row for row in rows}
    texts = [
        f"{what} is {shortened(figure)}, {edge_in_words(band)}{'' if band.usual is None else f' (usually {shortened(band.usual)})'}"
        for what, band in bands.items()
        if what in found and not band.holds(figure := found[what].spread[1])
    ]
    missing = [what for what in bands if what not in found] if whole else []
    return texts + [f"{what} was not measured: measure it, or drop its line from {FIGURES.relative_to(ROOT)}" for what in missing]


def renewed(bands: Mapping[str, Band], rows: Sequence[Row]) -> dict[str, Band]:
    """The bands of a benchmark with this run as the reference; figures that it did not measure stay."""
    found = {row.what: row for row in rows}
    return {what: band.renewed(found[what]) if what in found else band for what, band in bands.items()}


def edge_in_words(band: Band) -> str:
    return f"{band.edge.replace('_', ' ')} {shortened(band.limit)} is allowed"


def shortened(number: float) -> float:
    """A number with the digits that mean something."""
    return float(f"{number:.{DIGITS}g}")
