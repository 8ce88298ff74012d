"""The report of a run: one file without a network, whatever the run's files hold or lack."""

import gzip
import json
import re
import shutil
import sqlite3
import tomllib
from base64 import b64decode, b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.cli import main
from cluster.report import draw
from cluster.report.files import RunFiles
from cluster.report.findings.parting import parting, partings
from cluster.report.findings.periods import complaints
from cluster.report.lines import number
from cluster.report.pack import called_at_once, packed
from cluster.report.page import Chart
from cluster.report.pages.prompts import bins
from cluster.report.pages.registry import PAGES
from cluster.report.tables import duration, shown, table
from cluster.report.write import make_report
from configs.errors import NoRun
from tests.toys.report import LINE, run_dir


def blocks(html: str) -> dict[str, Any]:
    """The packed charts and data of each page of a report."""
    found = re.findall(r'<script type="application/x-packed" id="data-([^"]+)">([^<]*)</script>', html)
    return {name: json.loads(gzip.decompress(b64decode(text))) for name, text in found}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_dir(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(run, tmp_path / "copy")


@pytest.fixture(scope="module")
def html(run: Path) -> str:
    return make_report([run])


def test_a_report_has_every_page_and_the_numbers_of_the_metrics(html: str) -> None:
    for make in PAGES:
        assert f'<section id="page-{make.__name__}"' in html
    charts = {
        name: figure for block in blocks(html).values() if isinstance(block, dict) for name, figure in block.get("charts", {}).items()
    }
    assert charts["overview-reward_2fmean"]["data"][0]["y"] == [step / 8 for step in range(1, 7)]
    assert charts["overview-eval_2fgreedy"]["data"][0] | {"x": [0], "y": [0.2]} == charts["overview-eval_2fgreedy"]["data"][0]
    assert {name.split("-")[0] for name in charts} >= {"overview", "experts", "rewards", "prompts"}


def test_every_chart_that_a_page_has_room_for_is_there_once_and_is_one_that_plotly_knows(run: Path, html: str) -> None:
    from plotly.graph_objects import Figure

    places = re.findall(r'<div class="chart" id="([^"]+)"', html)
    charts: list[Chart] = [chart for make in PAGES for chart in make([RunFiles(run)]).charts]
    assert sorted(places) == sorted(chart.id for chart in charts if not chart.idle)
    assert len(set(places)) == len(places)
    for chart in charts:
        Figure(chart.figure)  # ValueError names the property that it does not know
        assert len(chart.how) > 20, chart.title


def test_nothing_of_a_run_is_markup_and_one_script_may_run(html: str) -> None:
    without_data = re.sub(r'<script type="application/x-packed"[^>]*>[A-Za-z0-9+/=]*</script>', "", html)
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", without_data, re.DOTALL)
    assert len(scripts) == 1
    assert f"sha256-{b64encode(sha256(scripts[0].encode()).digest()).decode()}" in html
    assert "<img" not in without_data
    assert "&lt;img src=x" in without_data
    assert "default-src 'none'" in html
    assert "connect-src 'none'" in html
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", without_data)
    assert not re.search(r"\son\w+=", re.sub(r"<script>.*</script>|&lt;.*?&gt;", "", without_data, flags=re.DOTALL))


def test_names_of_runs_and_of_metrics_are_text_too(tmp_path: Path) -> None:
    run = run_dir(tmp_path, name='a"><b onclick=x>&')
    lines = [json.dumps({"step": step, '"><script>evil()</script>': 1.0, "reward/part/<b>": 0.5}) for step in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    page = make_report([run, run_dir(tmp_path, name="other")])
    assert "<b onclick" not in page
    assert "<script>evil" not in page


SPOILED = {
    "responses/step_000001.jsonl": ['{"reward": "x", "parts": 3, "prompt_id": {}}\n{"parts": {"correct": "x"}}\n'],
    "responses/step_x.jsonl": ["{}"],
    "disagreements/step_000002.jsonl": ['{"parts": null}\n'],
    "ledger.db": [None, "no database at all, but longer than a header of one" * 40],
    "metrics.jsonl": [
        None,
        "",
        '{"step": 1, "reward/mean": 0.5}\n{"step": 2, "reward/me',
        '{"step": 1, "reward/mean": null, "entropy": NaN, "lr": 1e999, "loss": "x", "k": true}',
        '[]\n3\n{"step": "x"}\n{"step": null}\n{"reward/mean": 1}\n{"step": 1.5}\n',
        f'{{"step": 1, "reward/mean": {"9" * 400}}}\n',
        '\udcff\udcfe\n{"step": 1, "reward/mean": 0.5}\n',
    ],
    "config.toml": [None, "no = = toml", 'run = 3\nreward = "x"\n', '[run]\nsteps = "many"\n[reward]\nrange = ["a", 1]\n'],
    "experts.npz": [None, "PK broken"],
    "layers.jsonl": [
        '{"step": 1, "routing/differ": "x"}\n{"step": 2, "routing/differ": [null, "y", 0.5]}\n',
        '{"step": 1, "routing/differ": []}',
    ],
    "nodes.json": [None, '["x"]', '{"engine": 3}'],
    "timeline.jsonl": ['{"step": 1, "spans": [{"kind": "score", "start": "x"}, 3]}\n{"step": 2, "spans": 3}\n'],
    "health.jsonl": ['{"step": 1, "event": "ends", "rule": "x"}\n{"step": 1, "event": "begins"}\n{"event": 1}\n'],
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in SPOILED.items() for text in texts])
def test_a_run_that_lacks_or_spoils_a_file_has_a_report_all_the_same(run: Path, copy: Path, name: str, text: str | None) -> None:
    (copy / name).unlink(missing_ok=True)
    if text is not None:
        (copy / name).write_text(text, encoding="utf-8", errors="surrogateescape")
    page = make_report([copy, run])
    assert all(f'<section id="page-{make.__name__}"' in page for make in PAGES)
    assert "NaN" not in json.dumps([figure for block in blocks(page).values() for figure in block.get("charts", {}).values()])


def test_a_run_of_an_older_version_says_what_is_missing(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5}\n')
    page = make_report([old])
    assert "old has no config.toml, responses, ledger.db" in page
    assert RunFiles(old).state == "not running"


@pytest.mark.parametrize("name", ["nothing", "empty", "file"])
def test_a_folder_without_a_run_is_refused_with_what_to_give(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["report", str(tmp_path / name)])
    said = capsys.readouterr().err
    assert re.search(r"NoRun: .*(is no folder|holds no run).*give the run.dir", said)
    assert "Traceback" not in said


def test_the_command_writes_one_file_and_takes_a_run_once(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["report", str(run), f"{run}/", "--to", str(tmp_path / "x.html")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "x.html")
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]
    assert (tmp_path / "x.html").read_text().count('<span class="run">') == 1
    metrics = (run / "metrics.jsonl").read_bytes()
    for wrong in (tmp_path, tmp_path / "no" / "x.html", tmp_path / "x.html" / "y", run / "metrics.jsonl", tmp_path / ("x" * 300)):
        with pytest.raises(SystemExit):
            main(["report", str(run), "--to", str(wrong)])
        said = capsys.readouterr().err
        assert "--to got" in said
        assert "Traceback" not in said
    assert (run / "metrics.jsonl").read_bytes() == metrics
    assert [path.name for path in tmp_path.iterdir()] == ["x.html"]


def test_the_driver_has_it_written_with_its_pictures_and_says_that_the_run_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_dir(tmp_path)
    monkeypatch.setattr(draw, "die_with", lambda *_: None)
    monkeypatch.setattr(draw, "draw_run", lambda _: 1 / 0)
    monkeypatch.setattr("os.nice", lambda _: 0)
    monkeypatch.setattr("cluster.report.files.is_locked", lambda _: True)
    for niceness, state in (("19", "at work"), ("0", "finished")):
        with pytest.raises(ZeroDivisionError):
            draw.main(str(run), "77", niceness)
        assert f'<td dir="auto">{state}</td>' in (run / "report.html").read_text()
    assert not list(run.glob(".*.tmp"))


def test_what_was_seen_and_what_to_do_are_shown_the_open_ones_first_of_old_runs_too(copy: Path) -> None:
    run = copy
    old = [{"step": 1, "warning": "a", "event": "begins", "message": "old words"}, {"step": 2, "warning": "a", "event": "ends"}]
    (run / "warnings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert [(one.rule, one.when, one.seen) for one in complaints(RunFiles(run))] == [("a", "steps 1 to 2", "old words")]
    new = [{"step": 3, "rule": rule, "event": "begins", "seen": f"saw <{rule}>", "advice": "do this"} for rule in "bc"]
    (run / "health.jsonl").write_text("".join(json.dumps(line) + "\n" for line in [*new, {"step": 4, "rule": "b", "event": "ends"}]))
    assert [(one.rule, one.when) for one in complaints(RunFiles(run))] == [("c", "since step 3"), ("b", "steps 3 to 4")]
    page = make_report([run])
    later = {"step": 5, "rule": "d", "event": "begins", "seen": "so it goes", "advice": "do that"}
    with (run / "health.jsonl").open("a") as file:
        file.write(json.dumps(later) + "\n")
    assert [one.rule for one in complaints(RunFiles(run))] == ["c", "d", "b"]
    assert "saw &lt;c&gt;" in page
    assert "<b>Do:</b> do this" in page


def test_configs_are_compared_key_by_key(tmp_path: Path) -> None:
    page = make_report([run_dir(tmp_path, name="a"), run_dir(tmp_path, name="b", seed=1)])
    rows = re.search(r"Config difference</h2>(.*?)</table>", page, re.DOTALL)
    assert rows is not None
    assert re.findall(r'<td dir="auto">([^<]*)</td>', rows[1]) == ["run.seed", "0", "1"]


def test_two_runs_part_where_their_values_differ_and_where_the_noise_no_longer_explains_it(run: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 60)
    first = {step: 0.5 + noise[step] for step in range(60)}
    second = {step: value if step < 20 else value + (0.3 if step >= 30 else 0.001) for step, value in first.items()}
    found = parting("reward/mean", first, second)
    assert found.equal_to == 19
    assert found.from_step is not None
    assert 26 <= found.from_step <= 31
    assert {one.from_step for one in partings(RunFiles(run), RunFiles(run))} == {None}
    assert {one.equal_to for one in partings(RunFiles(run), RunFiles(run))} == {6}
    assert parting("x", {}, {1: 2.0}).equal_to is None


def test_the_ledger_says_which_prompts_are_never_and_always_solved(html: str) -> None:
    page = html[html.index('id="page-prompts"') :]
    assert re.search(r"Never solved <span class='quiet'>1 prompt<.*?<td dir=\"auto\">p0</td>", page, re.DOTALL)
    assert re.search(r"Always solved <span class='quiet'>1 prompt<.*?<td dir=\"auto\">p1</td>", page, re.DOTALL)


def test_a_column_of_gaps_stands_where_texts_do() -> None:
    assert table(["words", "n"], [[None, 1], [None, None]]).count("number") == 2, "the head and the cell of n"


def test_each_mean_that_a_group_can_have_is_in_the_middle_of_a_bar(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("[rollout]\ngroup_size = 4\n[reward]\nrange = [-1.0, 1.0]\n")
    assert bins(RunFiles(tmp_path)) == {"start": -1.25, "end": 1.25, "size": 0.5}


def test_plotly_is_wrapped_where_it_has_the_shape_that_is_known() -> None:
    script = b"(function(root, factory) {}\n(typeof self ? self : this, () => {\nvar a = {}; return Plotly;\n}));\n"
    assert called_at_once(script) == b"(function(root, factory) {}\n(typeof self ? self : this, (() => {\nvar a = {}; return Plotly;\n})));"
    for other in (b"window.Plotly = {}", script[:-5], script + script):
        assert called_at_once(other) == other


def test_a_long_run_keeps_its_report_small(copy: Path, html: str) -> None:
    rng = np.random.default_rng(0)
    lines = [{"step": step, **{f"k{key}": float(rng.normal()) for key in range(90)}, **LINE} for step in range(1, 101)]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = len(html)
    assert len(make_report([copy])) - before < 100 * 2000, "2 MB for 1,000 steps of noise: the texts of responses have the rest of 15 MB"
    np.savez(copy / "experts.npz", steps=np.arange(129), counts=rng.poisson(100, (129, 48, 128)))
    assert len(make_report([copy])) - before < 2e6


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (1, 1.0),
        (0.5, 0.5),
        (None, None),
        (True, None),
        ("1", None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
        ([], None),
    ],
)
def test_a_number_is_finite_or_none(value: object, found: float | None) -> None:
    assert number(value) == found


def test_numbers_and_times_are_short() -> None:
    assert [shown(value) for value in (0.0, 1234567.0, 0.51234, 3.14e-7, 12)] == ["0", "1,234,567", "0.512", "3.14e-07", "12"]
    assert [duration(value) for value in (3.2, 75, 3700, 200000)] == ["3.2 s", "1 min 15 s", "1 h 1 min", "2 d 7 h"]
    assert table(["<a>"], [["<b>" + "x" * 900], [None]]).count("&lt;") == 2
    assert json.loads(gzip.decompress(b64decode(packed({"a": [float("nan"), 1.0], "b": "\ud800"})))) == {"a": [None, 1.0], "b": "?"}


def test_the_version_that_wrote_a_config_is_known(copy: Path) -> None:
    run = copy
    assert RunFiles(run).version is None
    text = (run / "config.toml").read_text()
    (run / "config.toml").write_text(f"# Gatewise 9.9\n{text}")
    assert RunFiles(run).version == "9.9"
    assert tomllib.loads((run / "config.toml").read_text())["run"]["steps"] == 6


def test_a_ledger_of_an_older_version_lacks_what_it_cannot_say(run: Path, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "ledger.db") as db:
        db.execute("CREATE TABLE groups (group_id INTEGER)")
    (tmp_path / "config.toml").write_text("")
    assert RunFiles(tmp_path).ledger("SELECT reward FROM groups") == []
    assert len(RunFiles(run).ledger("SELECT reward FROM groups")) == 6
    with pytest.raises(NoRun):
        RunFiles(tmp_path / "x")
