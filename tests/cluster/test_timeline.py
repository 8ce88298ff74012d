"""The timeline of a run: spans on the driver's clock, the file, the lanes that a reader makes of it, the trace, and the page."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from cluster.loop.timeline import Timeline
from cluster.record.metrics.timeline.file import TIMELINE, TimelineFile, is_recorded
from cluster.record.metrics.timeline.lanes import Stretch, by_lane, join, read_timeline, rows, shares, stretches
from cluster.record.metrics.timeline.spans import Span, Spans
from cluster.record.metrics.timeline.trace_events import trace_of
from cluster.report.files import RunFiles
from cluster.report.findings.bound import bound
from cluster.report.pages.time import time as time_page
from rollout.engine.pulse import GroupAtWork
from tests.toys.run import run_config
from tests.toys.trace import check_trace


class Now:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def line(step: int, started: float, *spans: tuple[str, str, str, float, float], length: float = 2.0) -> str:
    made = [dict(zip(("lane", "name", "kind", "start", "end"), span, strict=True)) for span in spans]
    return json.dumps({"step": step, "started": started, "length": length, "spans": made}) + "\n"


# A group of engine 0 is generated across the edge of two steps while rank 0 learns, as with a staleness of 1.
AHEAD = (
    line(10, 100.0, ("engine 0", "group 4", "generate", 0.5, 2.0), ("rank 0", "updates", "learn", 0, 1.5), ("driver", "a", "learn", 0, 2))
    + line(11, 102.0, ("engine 0", "group 4", "generate", 0.0, 0.5), ("engine 0", "group 4", "score", 0.5, 0.75))
    + line(20, 190.0, ("engine 1", "group 9", "generate", 0.0, 1.0))
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / TIMELINE).write_text(AHEAD)
    (tmp_path / "config.toml").write_text("[run]\nsteps = 20\ntimeline_every = 10\n")
    rows = ({"step": step, "seconds/generate": 3.0, "seconds/learn": 1.0, "seconds/publish": 0.5} for step in range(1, 21))
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_group_is_generated_waits_for_answers_and_for_its_last_verdict() -> None:
    now, spans = Now(), None
    spans = Spans(now)
    asked = spans.begin("engine 0", "group 1", "generate")
    now.at = 10.0
    spans.answered(asked, [(2.0, 3.0), (5.0, 99.0)], scoring_s=1.0)
    spans.end(asked)
    found = [(one.kind, one.start, one.end) for one in spans.between(0.0, 20.0)]
    assert found == [("generate", 0.0, 2.0), ("answer", 2.0, 3.0), ("generate", 3.0, 5.0), ("answer", 5.0, 9.0), ("score", 9.0, 10.0)]
    lost = spans.begin("engine 1", "group 2", "generate")
    now.at = 12.0
    spans.end(lost)
    assert (lost.start, lost.end, spans.open) == (10.0, 12.0, {})


def test_the_stretches_in_which_a_group_waits_are_those_of_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = Now()
    monkeypatch.setattr("rollout.engine.pulse.time.monotonic", now)
    group = GroupAtWork(1, evaluated=False, since=0.0, working=2)
    now.at = 1.0
    with group.answers():
        now.at = 2.0
        with group.answers():  # both responses wait from here on
            now.at = 5.0
        now.at = 6.0
        group.finished(1)  # the other one still waits
        now.at = 7.0
    assert (group.answered, group.answering_s) == ([(2.0, 5.0), (6.0, 7.0)], 4.0)


@pytest.mark.parametrize(
    ("every", "steps"),
    [(10, [1, 2, 10, 11, 20, 21]), (5, [1, 2, 5, 6, 10, 11, 15, 16, 20, 21]), (1, list(range(1, 23))), (0, []), (50, [1, 2])]
)  # fmt: skip
def test_pairs_of_steps_are_recorded(every: int, steps: list[int]) -> None:
    assert [step for step in range(1, 23) if is_recorded(step, every)] == steps


def test_what_goes_on_at_the_end_of_a_step_is_cut_there_and_goes_on_in_the_next(tmp_path: Path) -> None:
    timeline = Timeline(run_config(tmp_path), learners := type("Observed", (), {"spans": Spans()})())
    assert learners.spans is timeline.spans
    now = timeline.spans.clock = Now()
    timeline.begin()
    asked = timeline.spans.begin("engine 0", "group 1", "generate")
    now.at = 2.0
    timeline.end(1)
    clock = timeline.begin()
    now.at = 5.0
    clock.lap("generate")
    timeline.spans.end(asked)
    timeline.spans.learned(0, 5.0, {"seconds/learn_fetch": 0.5, "seconds/learn_update": 1.0})
    now.at = 6.5
    timeline.end(2)
    one, two = read_timeline(tmp_path)
    assert [(span.name, span.start, span.end) for span in one.spans] == [("group 1", 0.0, 2.0)]
    assert [(span.lane, span.name, span.start, span.end) for span in two.spans] == [
        ("driver", "wait for groups", 0.0, 3.0), ("engine 0", "group 1", 0.0, 3.0),
        ("rank 0", "fetch responses", 3.0, 3.5), ("rank 0", "updates", 3.5, 4.5),
    ]  # fmt: skip
    whole = join([one, two])
    assert [(span.start, span.end) for span in whole.spans if span.name == "group 1"] == [(0.0, 5.0)]
    timeline.cut(1)
    assert [step.step for step in read_timeline(tmp_path)] == [1]


def test_the_file_stays_below_its_bound_and_a_full_disk_ends_nothing(tmp_path: Path) -> None:
    log = TimelineFile(tmp_path, 1, largest=20_000)
    spans = [Span("engine 0", f"group {place}", "generate", place, place + 1) for place in range(20)]
    for step in range(1, 101):
        log.write(step, 0.0, 1.0, 0.0, spans) if log.is_due(step) else None
        assert (tmp_path / TIMELINE).stat().st_size <= 20_000
    kept = [step.step for step in read_timeline(tmp_path)]
    assert kept[:2] == [1, 2]
    assert kept[-1] > 80
    assert len(kept) > 4
    full = TimelineFile(tmp_path / "no such folder", 1, largest=10)
    full.write(1, 0.0, 1.0, 0.0, spans)
    assert full.complaint().startswith(f"1 line of {TIMELINE} cannot be written yet")


def test_lines_that_are_none_are_left_out(run: Path) -> None:
    odd = ["{", "[]", '{"step": 1}', '{"step": 1, "started": 1, "length": 1e999, "spans": []}', "[" * 100_000, '{"step": true}', "\x00\xff",
           '{"step": 5, "started": 1, "length": 1, "spans": [3, {"lane": 1},'
           ' {"lane": "a", "name": "b", "kind": "c", "start": 2, "end": 1}]}']  # fmt: skip
    with (run / TIMELINE).open("a") as file:
        file.write("\n".join(odd))
    assert [(step.step, len(step.spans)) for step in read_timeline(run)] == [(5, 0), (10, 3), (11, 2), (20, 1)]


def test_neighbours_are_one_stretch_with_what_overlaps(run: Path) -> None:
    pair, single = stretches(read_timeline(run))
    assert (pair.name, pair.length, list(pair.starts), single.name) == ("steps 10 and 11", 4.0, [0.0, 2.0], "step 20")
    lanes = by_lane(pair.spans)
    assert list(lanes) == ["driver", "engine 0", "reward workers", "rank 0"]
    assert [(one.kind, one.start, one.end) for one in lanes["engine 0"]] == [("generate", 0.5, 2.5), ("score", 2.5, 2.75)]
    assert shares("engine 0", lanes["engine 0"], pair.length) == {"generate": 0.5}
    assert shares("reward workers", lanes["reward workers"], pair.length) == {"score": 0.0625}
    assert shares("rank 0", lanes["rank 0"], pair.length) == {"learn": 0.375}


def test_a_publish_is_no_generation_and_groups_at_once_count_once() -> None:
    spans = [Span("engine 0", f"group {n}", "generate", 0.0, 4.0) for n in range(3)] + [
        Span("engine 0", "new weights", "publish", 1.0, 2.0)
    ]
    assert shares("engine 0", spans, 8.0) == {"publish": 0.125, "generate": 0.375}
    assert [len(row) for row in rows(spans)] == [1, 1, 1, 1]
    assert [len(row) for row in rows([Span("e", "a", "g", 0, 1), Span("e", "b", "g", 1, 2), Span("e", "c", "g", 0, 2)])] == [2, 1]


def test_the_trace_is_in_chromes_format_and_has_every_span_at_its_time(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["trace", str(run), "--to", str(run / "trace.json")])
    assert "6 spans of 3 steps; open it at ui.perfetto.dev" in capsys.readouterr().out
    found = check_trace(json.loads((run / "trace.json").read_text()))
    assert list(found) == ["steps", "driver", "engine 0", "engine 1", "reward workers", "rank 0"]
    assert [(one["name"], one["ts"], one["dur"]) for one in found["steps"]] == [
        ("step 10", 0, 2_000_000), ("step 11", 2_000_000, 2_000_000), ("step 20", 90_000_000, 2_000_000),
    ]  # fmt: skip
    assert [(one["name"], one["cat"], one["ts"], one["dur"]) for one in found["engine 0"]] == [
        ("group 4", "generate", 500_000, 2_000_000), ("group 4", "score", 2_500_000, 250_000),
    ]  # fmt: skip
    main(["trace", str(run), "--to", str(run / "trace.json.gz")])
    assert json.loads(gzip.decompress((run / "trace.json.gz").read_bytes())) == trace_of(read_timeline(run), run.name)


def test_spans_that_were_rounded_into_each_other_do_not_overlap_in_a_trace(tmp_path: Path) -> None:
    (tmp_path / TIMELINE).write_text(line(1, 0.0, ("rank 0", "a", "learn", 0.0, 0.50005), ("rank 0", "b", "learn", 0.5, 0.50001)))
    found = check_trace(trace_of(read_timeline(tmp_path), "run"))
    assert [(one["name"], one["ts"], one["dur"]) for one in found["rank 0"]] == [("a", 0, 500_050), ("b", 500_050, 0)]


@pytest.mark.parametrize(
    ("arrange", "to", "said"),
    [
        (lambda run: None, ".", "needed a file: give"),
        (lambda run: None, "none/trace.json", "its folder does not exist"),
        (lambda run: (run / TIMELINE).unlink(), "t.json", "has no recorded step in timeline.jsonl"),
        (lambda run: (run / TIMELINE).write_text("{"), "t.json", "run.timeline_every was 0"),
        (lambda run: [path.unlink() for path in run.iterdir()], "t.json", "holds no run"),
    ],
)
def test_a_trace_that_cannot_be_says_why(run: Path, arrange: Any, to: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    arrange(run)
    with pytest.raises(SystemExit):
        main(["trace", str(run), "--to", str(run / to)])
    assert said in capsys.readouterr().err


def seconds_of(run: Path, **stages: float) -> None:
    lines = ({"step": step, **{f"seconds/{name}": value for name, value in stages.items()}} for step in range(1, 13))
    (run / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.mark.parametrize(
    ("stages", "seen", "advice"),
    [
        ({"generate": 6.0, "learn": 3.0, "publish": 1.0}, "Generation bounds the step: the driver waits for groups 60%",
         "a step takes about 7 s at best"),
        ({"generate": 3.0, "learn": 6.0, "publish": 1.0}, "Learning bounds the step: it takes 60%", "raise learner.ranks from 1 to 2"),
        ({"generate": 1.0, "learn": 1.0, "publish": 8.0}, "The publish bounds the step: it takes 80%", "rollout.groups_per_step"),
        ({"generate": 1.0, "learn": 1.0, "save": 2.0}, "Recording and saving bound the step: they take 50%", "raise run.save_every"),
        ({"generate": 1.0, "learn": 1.0, "evaluate": 2.0}, "Evaluation bounds the step", "raise run.eval_every"),
        ({"generate": 0.1, "learn": 0.2}, "Learning bounds the step", "not worth a move"),
    ],
)  # fmt: skip
def test_the_stage_that_bounds_the_step_and_what_moves_it(tmp_path: Path, stages: dict[str, float], seen: str, advice: str) -> None:
    from configs.loader import dump

    (tmp_path / "config.toml").write_text(dump(run_config(tmp_path)))
    seconds_of(tmp_path, **stages)
    found = bound(RunFiles(tmp_path))
    assert found is not None
    assert seen in found.seen
    assert advice in found.advice


def test_with_generation_ahead_the_split_moves_and_a_rule_that_holds_says_it_in_its_words(tmp_path: Path) -> None:
    from configs.loader import dump

    (tmp_path / "config.toml").write_text(dump(run_config(tmp_path, run={"dir": str(tmp_path), "max_staleness": 1})))
    seconds_of(tmp_path, generate=6.0, learn=1.0)
    assert "raise rollout.engines from 1 to 2" in time_page([RunFiles(tmp_path)]).html
    begins = {"step": 11, "rule": "learner_waits", "event": "begins", "seen": "the learner waits 80% of it", "advice": "raise <this>"}
    (tmp_path / "health.jsonl").write_text(json.dumps(begins) + "\n")
    html = time_page([RunFiles(tmp_path)]).html
    assert "the learner waits 80% of it (since step 11)" in html
    assert "raise &lt;this&gt;" in html
    assert "To move it" not in html


def test_the_page_shows_each_recorded_stretch_and_says_where_there_is_none(run: Path) -> None:
    page = time_page([RunFiles(run)])
    shown = page.data["time-0-lanes"]
    assert (shown["first"], [one["name"] for one in shown["stretches"]]) == (0, ["steps 10 and 11", "step 20"])
    assert "<h3>Lanes, steps 10 and 11</h3>" in page.html
    lanes, busy = page.more["0-0"]
    assert lanes["figure"]["layout"]["yaxis"]["ticktext"] == ["driver", "engine 0", "reward workers", "rank 0"]
    generated = next(trace for trace in lanes["figure"]["data"] if trace["name"] == "generate")
    assert (generated["base"], generated["x"]) == ([0.5], [2.0])
    assert [(one["y"], one["text"]) for one in busy["figure"]["layout"]["annotations"]] == [
        ("driver", "50%"), ("engine 0", "50%"), ("reward workers", "6%"), ("rank 0", "38%"),
    ]  # fmt: skip
    config = (run / "config.toml").read_text()
    (run / TIMELINE).unlink()
    assert "has no recorded step in timeline.jsonl yet" in time_page([RunFiles(run)]).html
    (run / "config.toml").write_text(config.replace("timeline_every = 10", "timeline_every = 0"))
    assert "run.timeline_every is 0" in time_page([RunFiles(run)]).html
    (run / "config.toml").write_text(re.sub("timeline_every.*", "", config))
    old = time_page([RunFiles(run)])
    assert "an older version wrote it" in old.html
    assert [chart.title for chart in old.charts] == ["Seconds by stage"]


def test_a_name_from_the_file_is_text_and_a_large_step_stays_small(run: Path) -> None:
    harm = "<img src=x onerror=alert(1)>"
    many = [(f"engine {n % 80}", harm, harm, n / 5000, n / 5000 + 0.5) for n in range(5000)]
    (run / TIMELINE).write_text(line(1, 0.0, *many))
    page = time_page([RunFiles(run)])
    text = json.dumps([page.html, page.more])
    assert "<img" not in text
    assert "The first 48 of 80 lanes are drawn" in page.html
    assert len(gzip.compress(text.encode())) < 200_000


def test_a_stretch_names_its_steps() -> None:
    names = [Stretch(steps, [0.0] * len(steps), 0.0, 1.0, []).name for steps in ([3], [3, 4], [3, 4, 5])]
    assert names == ["step 3", "steps 3 and 4", "steps 3 to 5"]
