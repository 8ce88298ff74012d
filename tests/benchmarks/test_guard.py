"""Figures of benchmarks that are worse than their bands are named, and the exit status says so."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.guard import FIGURES, Band, read_band, read_bands, renewed, worse, write_bands
from benchmarks.rounds import Row

LESS, MORE = Band(1.0, "at_most", 1.2), Band(0.6, "at_least", 0.5)


def row(what: str, *values: float) -> Row:
    return Row(what=what, unit="x", values=values)


@pytest.mark.parametrize(
    ("band", "values", "named"),
    [
        (LESS, [0.1], False),
        (LESS, [1.2], False),
        (LESS, [1.21], True),
        (LESS, [1.0, 1.1, 9.0], False),  # the median counts
        (LESS, [1.0, 1.3, 1.4], True),
        (LESS, [float("nan")], True),
        (MORE, [0.5], False),
        (MORE, [7.0], False),
        (MORE, [0.49], True),
        (MORE, [float("nan")], True),
    ],
)
def test_a_figure_is_named_where_its_median_is_outside_its_band(band: Band, values: list[float], named: bool) -> None:
    texts = worse({"step": band}, [row("step", *values), row("other", 99.0)], whole=True)
    assert bool(texts) is named
    assert not texts or ("step is " in texts[0] and f"{band.edge.replace('_', ' ')} {band.limit:g} is allowed" in texts[0])


def test_a_guarded_figure_that_a_full_run_does_not_measure_is_named() -> None:
    assert worse({"step": LESS}, [], whole=False) == []
    assert worse({"step": LESS}, [], whole=True) == [
        "step was not measured: measure it, or drop its line from benchmarks/figures.json",
    ]


@pytest.mark.parametrize(
    ("band", "values", "limit"),
    [
        (LESS, [1.0, 1.1, 1.5], 1.5),  # as far as the worst round
        (LESS, [2.0], 2.1),
        (MORE, [0.7, 0.8, 0.9], 0.7),
        (MORE, [1.0], 0.95),
    ],
)
def test_a_run_that_is_kept_gives_the_bands(tmp_path: Path, band: Band, values: list[float], limit: float) -> None:
    found = renewed({"step": band, "away": MORE}, [row("step", *values)])
    assert (found["step"].limit, found["step"].edge, found["away"]) == (pytest.approx(limit), band.edge, MORE)
    path = tmp_path / "figures.json"
    write_bands({"a": found, "b": {}}, path)
    again = read_bands(path)
    assert again["a"]["step"].limit == pytest.approx(limit)
    write_bands(again, path)
    assert read_bands(path) == again


@pytest.mark.parametrize(
    "entry",
    [{}, {"usual": 1}, {"usual": 1, "at_most": 1, "at_least": 1}, {"usual": "1", "at_most": 2}, {"usual": 1, "max": 2}],
)
def test_an_entry_that_is_no_band_is_refused_with_its_place(entry: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="of step: needed a number for one of at_most and at_least"):
        read_band(entry, "of step")


def test_a_goal_that_was_never_reached_in_a_kept_run_has_no_usual_value() -> None:
    goal = read_band({"at_most": 1.25}, "of step")
    assert goal.as_json() == {"at_most": 1.25}
    assert worse({"step": goal}, [row("step", 1.5)], whole=True) == ["step is 1.5, at most 1.25 is allowed"]
    assert goal.renewed(row("step", 1.0, 1.1)).as_json() == {"usual": 1.05, "at_most": 1.1}


def test_the_committed_bands_are_of_benchmarks_that_exist_and_hold_their_own_usual_values() -> None:
    bands = read_bands()
    assert set(bands) <= set(command.BENCHMARKS)
    assert all(band.usual is None or band.holds(band.usual) for of_one in bands.values() for band in of_one.values())
    written = FIGURES.read_text()
    assert json.loads(written) == {name: {what: band.as_json() for what, band in of_one.items()} for name, of_one in bands.items()}


def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *values: float) -> None:
    """`python -m benchmarks learner` measures these values."""
    module = type("module", (), {"measure": staticmethod(lambda size: [row("step / torch", *values)])})
    monkeypatch.setattr(command, "import_module", lambda name: module)
    monkeypatch.setattr(command, "OUT", tmp_path)
    monkeypatch.setattr(command, "read_bands", lambda: {"learner": {"step / torch": LESS}, "rewards": {"other": MORE}})


def test_the_command_says_what_is_worse_and_shows_the_last_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(monkeypatch, tmp_path, 0.9)
    assert command.main(["learner"]) == 0
    assert "no guarded figure is worse" in capsys.readouterr().out
    measured(monkeypatch, tmp_path, 98.7)
    assert command.main(["learner"]) == 1
    said = capsys.readouterr().out
    assert "learner: step / torch is 98.7" in said
    assert " 0.9 " in said, "the last run stands beside this one"
    assert command.main(["learner", "--quick"]) == 0
    assert "read it as noise" in capsys.readouterr().out


@pytest.mark.parametrize("left", ["", "{", "[]", '{"rows": 3}', '{"rows": [{"what": "a"}]}', '{"rows": [{"what": "a", "median": "?"}]}'])
def test_a_last_run_that_cannot_be_read_is_as_none(tmp_path: Path, left: str) -> None:
    (tmp_path / "a.json").write_text(left)
    assert command.last_medians(tmp_path / "a.json") == command.last_medians(tmp_path / "no.json") == {}


def test_a_quick_run_cannot_become_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["learner", "--quick", "--keep"])
    assert "a few rounds are no reference" in capsys.readouterr().err


def test_a_kept_run_changes_its_own_figures_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept: list[Any] = []
    measured(monkeypatch, tmp_path, 1.0, 1.0, 1.4)
    monkeypatch.setattr(command, "write_bands", kept.append)
    assert command.main(["learner", "--keep"]) == 0
    assert kept == [{"learner": {"step / torch": Band(1.0, "at_most", 1.4)}, "rewards": {"other": MORE}}]
