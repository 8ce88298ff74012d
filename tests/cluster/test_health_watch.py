"""Following a run's health: said once an episode, causes first, recorded, and continued on resume."""

import json
from pathlib import Path

from cluster.health.rule import Finding, Rule
from cluster.health.watch import CALM, Watch
from cluster.record.health_log import HealthLog, Period, read_health
from tests.toys.run import run_config

ILL, OTHER = Finding("is ill", "set x"), Finding("seen", "set y")


def test_a_symptom_is_said_once_until_it_has_been_gone_for_some_steps_and_is_recorded(tmp_path: Path) -> None:
    ill = {2, 3, 5, 30}
    rules = (Rule("ill", lambda history: ILL if history.step in ill else None),)
    watch = Watch(run_config(tmp_path), rules)
    watch.begin(0)
    said = [text for step in range(1, 32) for text in watch.observe(step, {}, {"other": OTHER if step == 31 else None})]
    assert said == ["step 2: is ill: set x", "step 30: is ill: set x", "step 31: seen: set y"]
    watch.record(31, "alarm", Finding("raised", "z"))
    assert read_health(tmp_path) == [
        Period("ill", 2, "is ill", "set x", 5),
        Period("ill", 30, "is ill", "set x"),
        Period("other", 31, "seen", "set y"),
        Period("alarm", 31, "raised", "z", 31),
    ]
    lines = [json.loads(line) for line in (tmp_path / "health.jsonl").read_text().splitlines()]
    assert lines[0] == {"step": 2, "rule": "ill", "event": "begins", "seen": "is ill", "advice": "set x"}
    assert lines[1] == {"step": 5, "rule": "ill", "event": "ends"}


def test_what_begins_in_one_step_is_said_and_recorded_from_cause_to_consequence(tmp_path: Path) -> None:
    rules = (Rule("cause", lambda _: ILL), Rule("consequence", lambda _: OTHER))
    watch = Watch(run_config(tmp_path), rules)
    watch.begin(0)
    assert watch.observe(1, {}, {"verdicts": Finding("no verdict", "mend it")}) == [
        "step 1: no verdict: mend it",
        "step 1: is ill: set x",
        "step 1: seen: set y",
    ]
    assert [period.rule for period in read_health(tmp_path)] == ["verdicts", "cause", "consequence"]


def test_a_resumed_run_neither_repeats_an_open_symptom_nor_keeps_one_of_undone_steps(tmp_path: Path) -> None:
    rules = (Rule("long", lambda history: ILL if history.step >= 4 else None), Rule("late", lambda h: OTHER if h.step == 9 else None))
    first = Watch(run_config(tmp_path), rules)
    first.begin(0)
    for step in range(1, 11):
        first.observe(step, {})
    again = Watch(run_config(tmp_path), rules)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": step, "entropy": 0.1}) + "\n" for step in range(9)))
    again.begin(8)
    assert again.history.step == 8
    assert [text for step in range(9, 9 + CALM) for text in again.observe(step, {})] == ["step 9: seen: set y"]
    assert [(period.rule, period.first) for period in read_health(tmp_path)] == [("long", 4), ("late", 9)]


FORMER = [
    {"step": 3, "warning": "out_of_turns", "event": "begins", "message": "62% of the episodes: raise it"},
    {"step": 4, "warning": "moved_far", "event": "begins", "message": "moved: lower it"},
    {"step": 6, "warning": "moved_far", "event": "ends"},
    {"step": 9, "warning": "clipped", "event": "begins", "message": "clipped"},
]


def test_the_file_of_an_older_run_is_read_and_a_resumed_one_goes_on_in_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "warnings.jsonl").write_text("".join(json.dumps(line) + "\n" for line in FORMER))
    periods = [Period("out_of_turns", 3, "62% of the episodes: raise it"), Period("moved_far", 4, "moved: lower it", "", 6)]
    assert read_health(tmp_path) == [*periods, Period("clipped", 9, "clipped")]
    assert read_health(tmp_path)[0].message == "62% of the episodes: raise it"
    log = HealthLog(tmp_path)
    log.cut(8)
    log.begin(9, "truncated", "cut", "raise it")
    assert read_health(tmp_path) == [*periods, Period("truncated", 9, "cut", "raise it")]
    assert HealthLog(tmp_path).open() == ["out_of_turns", "truncated"]
    assert read_health(tmp_path / "nowhere") == []
