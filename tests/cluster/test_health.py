"""The health rules: silent on a healthy course, one warning for each ill one, said once an episode and recorded."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.health.history import History
from cluster.health.rule import Rule
from cluster.health.watch import CALM, RULES, Watch
from cluster.record.warnings import Period, read_warnings
from tests.toys.run import run_config

Row = dict[str, float]
NAN = float("nan")


def healthy(step: int) -> Row:
    """A step of a run that learns, with the noise of the tiny recipe."""
    noise = 0.04 * ((step * 7) % 5 - 2) / 2
    right = min(0.8, 0.3 + step / 100) + noise
    return {
        "reward/mean": right, "reward/correct": right, "reward/min": 0.0, "reward/max": 1.0, "reward/std": 0.4,
        "groups/all_equal": 0.2 + step / 500, "groups/no_signal": 0.2 + step / 500, "length/truncated": 0.01,
        "grad_norm": 3.0 + 10 * noise, "entropy": 0.48 - step / 400, "policy_kl": 0.002 + abs(noise) / 10, "learned_tokens": 1800.0,
        "updates_skipped": float(step > 30), "clip/low": 0.01, "clip/high": 0.01, "mismatch/kl": 1e-3 + abs(noise) / 100,
        "eval/greedy": 0.3 + step / 200 if step % 30 == 0 else NAN,
    }  # fmt: skip


def course(steps: int, change: Callable[[int], Row], **sections: Any) -> dict[str, str]:
    """The first text of each rule over a run whose steps differ from healthy ones by `change`."""
    sizes = {"groups_per_step": 64, "group_size": 8, "max_response_tokens": 8}
    history, said = History(run_config(Path("x"), **{"rollout": sizes, **sections})), {}
    for step in range(1, steps + 1):
        history.add({"step": step, **healthy(step), **change(step)})
        for rule in RULES:
            if text := rule.test(history):
                said.setdefault(rule.name, f"{step}: {text}")
    return said


def after(start: int, **values: float) -> Callable[[int], Row]:
    return lambda step: dict(values) if step >= start else {}


WRONG = {"reward/mean": 0.0, "reward/correct": 0.0, "reward/max": 0.0, "groups/all_equal": 1.0, "groups/no_signal": 1.0, "grad_norm": 0.0}
FORMAT = {"reward/correct": 0.0, "groups/all_equal": 1.0, "reward/part/tags": 0.4, "reward/part/second": 0.1}


@pytest.mark.parametrize("sections", [{}, {"run": {"dir": "x", "max_staleness": 2}}, {"objective": {"preset": "gspo"}}])
def test_a_healthy_run_gets_no_warning(sections: Any) -> None:
    assert course(90, lambda _: {}, **sections) == {}


@pytest.mark.parametrize(
    ("name", "change", "begins", "words"),
    [
        ("no_signal", after(1, **WRONG), 3, "data.reference_field"),
        ("no_signal", after(20, **WRONG), 22, "the policy collapsed; lower learner.lr (now 1e-06)"),
        ("no_signal", after(5, **{**WRONG, "reward/correct": 1.0, "reward/mean": 1.0}), 7, "harder prompts"),
        ("no_signal", after(5, **{**WRONG, "reward/correct": 0.4, "reward/mean": 0.4}), 7, "rollout.group_size"),
        ("part_alone", after(1, **FORMAT), 5, "the reward comes from tags alone"),
        ("truncated", after(1, **{"length/truncated": 1.0}), 3, "all responses of the last 3 steps are cut off"),
        ("truncated", after(9, **{"length/truncated": 0.6}), 11, "60% of the responses"),
        ("truncated", after(9, **{"length/truncated": 0.6}), 11, "up from 1% at the start"),
        ("held_out_falls", lambda s: {"eval/greedy": 0.2} if s in (50, 60) else {}, 60, "from 0.450 (step 30) to 0.200"),
        ("held_out_falls", lambda s: {"eval/sums/greedy": 0.9 - s / 100} if s % 20 == 0 else {}, 60, "data.train"),
        ("not_learning", lambda s: {"updates_skipped": float(max(0, s - 10)), "grad_norm": NAN}, 13, "were not finite"),
        ("not_learning", after(4, **{"learned_tokens": 0.0}), 6, "no response of the last 3 steps was learned"),
        ("not_learning", after(4, **{"grad_norm": 0.0}), 6, "the gradient was 0"),
        ("moved_far", after(4, policy_kl=0.09), 5, "each of the last 3 steps"),
        ("moved_far", lambda s: {"policy_kl": 2.0} if s == 1 else {}, 1, "one step moved the policy by 2 nats"),
        ("clipped", after(10, **{"clip/low": 0.4}), 13, "objective.clip_low"),
        ("reward_falls", after(40, **{"reward/mean": 0.2}), 45, "while every gradient was clipped to learner.max_grad_norm (1)"),
        ("reward_falls", lambda s: {"grad_norm": 90.0 if s == 41 else 0.5, **after(42, **{"reward/mean": 0.1})(s)}, 46, "norm of 90"),
        ("reward_falls", lambda s: {"reward/mean": 0.9 if s == 1 else 0.05}, 6, "fell from 0.900 in step 1 to 0.050"),
        ("entropy_vanishes", after(20, **{"entropy": 0.01, "reward/mean": 0.4}), 29, "rollout.temperature"),
        ("mismatch_jumps", after(30, **{"mismatch/kl": 0.05}), 32, "set mismatch.share"),
    ],
)
def test_an_ill_run_is_named(name: str, change: Callable[[int], Row], begins: int, words: str) -> None:
    said = course(60, change)
    assert name in said, said
    step, _, text = said[name].partition(": ")
    assert (int(step), words in text) == (begins, True), said[name]


@pytest.mark.parametrize(("prompts", "warned"), [(30, False), (1000, True)])
def test_held_out_correctness_must_fall_by_more_than_chance_in_so_many_prompts(prompts: int, warned: bool) -> None:
    history = History(run_config(Path("x")), held_out={"held-out": prompts})
    texts = []
    for step, correct in ((10, 0.5), (20, 0.35), (30, 0.35)):
        history.add({"step": step, "reward/mean": step / 100, "eval/greedy": correct})
        texts += [rule.test(history) for rule in RULES if rule.name == "held_out_falls"]
    assert any(texts) is warned


def test_responses_that_failed_are_not_called_right() -> None:
    right = {**WRONG, "reward/correct": 1.0, "reward/mean": 1.0}
    assert "no_signal" in course(9, after(1, **right))
    assert "no_signal" not in course(9, after(1, **right, **{"reward/failures": 300.0}))


def test_a_few_small_steps_without_a_right_answer_say_nothing() -> None:
    few = {"rollout": {"groups_per_step": 4, "group_size": 2, "max_response_tokens": 8}}
    assert course(11, after(1, **WRONG), **few).keys() & {"no_signal"} == set()
    assert "no_signal" in course(12, after(1, **WRONG), **few)


def test_a_jump_of_the_mismatch_under_staleness_names_staleness_and_is_left_to_the_alarm_where_one_is_set() -> None:
    jump, stale = after(30, **{"mismatch/kl": 0.05}), {"run": {"dir": "x", "max_staleness": 2}}
    assert "run.max_staleness (now 2)" in course(60, jump, **stale)["mismatch_jumps"]
    assert course(60, jump, **stale, mismatch={"alarm": 0.01}) == {}


def test_a_policy_that_is_always_right_may_lose_its_entropy() -> None:
    assert course(80, after(20, **{"entropy": 0.001, "reward/mean": 0.97, "reward/correct": 0.97})) == {}


def test_groups_that_are_alike_within_teach_an_advantage_that_compares_groups() -> None:
    alike = after(5, **{"groups/all_equal": 1.0, "groups/no_signal": 1.0})
    for advantage in ("whitened", "decoupled"):
        assert course(20, alike, objective={"advantage": advantage}) == {}
    assert list(course(20, alike)) == ["no_signal"]


def test_a_step_without_numbers_stops_no_rule() -> None:
    assert course(30, lambda _: dict.fromkeys(healthy(1), NAN)) == {}


def test_a_warning_is_said_once_until_it_has_been_gone_for_some_steps_and_is_recorded(tmp_path: Path) -> None:
    ill = {2, 3, 5, 30}
    rules = (Rule("ill", lambda history: "is ill: set x" if history.step in ill else None),)
    watch = Watch(run_config(tmp_path), rules)
    watch.begin(0)
    said = [text for step in range(1, 32) for text in watch.observe(step, {}, {"other": "seen" if step == 31 else ""})]
    assert said == ["step 2: is ill: set x", "step 30: is ill: set x", "step 31: seen"]
    watch.record(31, "alarm", "raised")
    assert read_warnings(tmp_path) == [
        Period("ill", 2, "is ill: set x", 5),
        Period("ill", 30, "is ill: set x"),
        Period("other", 31, "seen"),
        Period("alarm", 31, "raised", 31),
    ]


def test_a_resumed_run_neither_repeats_an_open_warning_nor_keeps_one_of_undone_steps(tmp_path: Path) -> None:
    rules = (Rule("long", lambda history: "long" if history.step >= 4 else None), Rule("late", lambda h: "late" if h.step == 9 else None))
    first = Watch(run_config(tmp_path), rules)
    first.begin(0)
    for step in range(1, 11):
        first.observe(step, {})
    again = Watch(run_config(tmp_path), rules)
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps({"step": step, "entropy": 0.1}) + "\n" for step in range(9)))
    again.begin(8)
    assert again.history.step == 8
    assert [text for step in range(9, 9 + CALM) for text in again.observe(step, {})] == ["step 9: late"]
    assert [(episode.name, episode.first) for episode in read_warnings(tmp_path)] == [("long", 4), ("late", 9)]
