"""The pictures of a run: what they show, and that a process of its own draws them without harm to the run."""

import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from cluster.record.expert_log import ExpertLog
from cluster.record.pictures import artist, curves, draw, experts, page
from cluster.record.pictures.artist import Artist, drawn_at_the_end

Row = dict[str, float | None]
METRICS = (
    "reward/mean",
    "entropy",
    "length/mean",
    "length/truncated",
    "clip/low",
    "clip/high",
    "grad_norm",
    "mismatch/max",
    "seconds/step",
)


def rows(count: int, **more: float | None) -> list[Row]:
    return [{"step": 0, "eval/greedy": 0.4}] + [
        {"step": step, **{key: 0.1 + step / 9 if step != 4 else None for key in METRICS}, "eval/greedy": 0.5} | more
        for step in range(1, count + 1)
    ]


def test_the_picture_is_a_png_that_is_never_seen_half_written(tmp_path: Path) -> None:
    folder = tmp_path / "run_$x^$"
    folder.mkdir()
    (folder / "config.toml").write_text(f'[run]\nsteps = 90\n[model]\npath = "{"m" * 80}"\n')
    curves.draw(rows(8), folder / "reward.png")
    head = (folder / "reward.png").read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", head[16:])
    assert (width, height) == (1430, 979)
    assert sorted(path.name for path in folder.iterdir()) == ["config.toml", "reward.png"]
    assert page.title_of(folder, 3) == f"run_$x^$  ·  …{'m' * 48}  ·  step 3 of 90"


@pytest.mark.parametrize(
    ("count", "split"),
    [(1, {}), (90, {}), (8, {"split/engine": 0.1, "split/staleness": 0.2}), (8, {"split/numerics": 0.1, "split/routing": None})],
)
def test_steps_have_whole_ticks_and_reward_and_held_out_correctness_panels_of_their_own(count: int, split: Row) -> None:
    figure, kept = Figure(), rows(count)
    parts = [key.removeprefix("split/") for key, value in split.items() if value is not None]
    curves._fill(figure, [*kept[:2], *(row | split for row in kept[2:])], parts)
    assert all(tick == int(tick) for axis in figure.axes for tick in axis.get_xticks())
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:2] == ["mean reward in training", "held-out correctness, greedy"]
    for word in ("length", "cut off", "clip", "gradient"):
        assert any(word in title for title in titles), word
    assert all(axis.lines for axis in figure.axes[:9]), "every panel has a curve"
    assert len(figure.axes) == (12 if split else 9)


@pytest.mark.parametrize("split", [{}, {"split/engine": 0.1}])
def test_a_run_of_episodes_has_a_row_of_panels_more(split: Row, tmp_path: Path) -> None:
    figure, parts = Figure(), [key.removeprefix("split/") for key in split]
    episodes = {"turns/mean": 2.0, "turns/max": 5.0, "turns/exhausted": 0.1, "tool/calls": 0.7, "tool/errors": 0.0}
    curves._fill(figure, rows(8, **split, **episodes), parts, episodes=True)
    assert len(figure.axes) == 12 + 3 * bool(split)
    assert [axis.get_title() for axis in figure.axes[9:12]] == [
        "turns of an episode",
        "tool calls of an episode",
        "episodes that ran out of turns (share)",
    ]
    assert all(axis.lines for axis in figure.axes[9:12])
    curves.draw(rows(2, **episodes), tmp_path / "reward.png")
    assert struct.unpack(">II", (tmp_path / "reward.png").read_bytes()[16:24]) == (1430, 1276)


def test_a_run_of_one_step_shows_a_point_and_what_was_not_measured_is_named() -> None:
    figure = Figure()
    curves._fill(figure, [{"step": 1, "reward/mean": 0.5}], [])
    assert figure.axes[0].lines[0].get_marker() == "o"
    assert [text.get_text() for text in figure.axes[1].texts] == ["not measured"]


def test_experts_and_layers_have_whole_ticks() -> None:
    figure = Figure()
    experts._fill(figure, (np.array([1, 2]), np.arange(2 * 4 * 8).reshape(2, 4, 8)))
    figure.draw_without_rendering()
    left, right = figure.axes[:2]
    assert all(tick == int(tick) for ticks in (left.get_xticks(), left.get_yticks(), right.get_xticks()) for tick in ticks)


def run_dir(folder: Path) -> Path:
    (folder / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5}\n')
    ExpertLog(folder).write(1, np.array([[1, 2]]))
    return folder


def test_a_run_is_drawn_by_another_process_when_it_ends_also_by_an_error(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(ZeroDivisionError), drawn_at_the_end(run_dir(tmp_path), said.append):
        raise ZeroDivisionError
    assert said == []
    assert (tmp_path / "reward.png").exists()
    assert (tmp_path / "experts.png").exists()


@pytest.mark.parametrize("code", ["raise IsADirectoryError", "import time; time.sleep(60)"])
def test_a_picture_that_cannot_be_drawn_is_named_and_hides_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(artist, "start_drawing", lambda *_: subprocess.Popen([sys.executable, "-S", "-c", code], stderr=subprocess.DEVNULL))
    monkeypatch.setattr(artist, "LONGEST_S", 0.2)
    said: list[str] = []
    with pytest.raises(ZeroDivisionError), drawn_at_the_end(run_dir(tmp_path), said.append):
        raise ZeroDivisionError
    assert said == [f"the pictures could not be drawn: see {tmp_path / 'logs' / 'pictures.log'}"]


class ToyProcess:
    """A drawing that is done when it is told so."""

    def __init__(self) -> None:
        self.status: int | None = None

    def poll(self) -> int | None:
        return self.status


def test_drawing_takes_at_most_a_hundredth_of_the_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    now, started = [0.0], []
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(artist, "start_drawing", lambda _, niceness, __: started.append((now[0], niceness)) or ToyProcess())
    works = Artist(tmp_path)
    for second in range(1000):
        now[0] = float(second)
        works.draw_when_due()
        if works.process is not None and second - started[-1][0] >= 3:
            works.process.status = 0
    assert started == [(60.0, 19), (464.0, 19), (868.0, 19)]


def test_a_drawing_gives_way_to_the_run_and_ends_with_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(draw, "die_with", lambda *given: asked.append(given))
    monkeypatch.setattr(os, "nice", asked.append)
    monkeypatch.setattr(draw, "draw_run", asked.append)
    draw.main(str(tmp_path), "77", "19")
    draw.main(str(tmp_path))
    assert asked == [(77, signal.SIGKILL), 19, tmp_path, 0, tmp_path]
