"""The health rules: silent on a healthy course, and one finding for each ill one, with keys that exist and a value to try."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cluster.health.history import History
from cluster.health.ranked import RULES
from configs.suggest import known_keys
from tests.toys.run import run_config

Row = dict[str, float]
NAN = float("nan")
SIZES = {"groups_per_step": 64, "group_size": 8, "max_response_tokens": 8}


def healthy(step: int) -> Row:
    """A step of a run that learns, with the noise of the tiny recipe."""
    noise = 0.04 * ((step * 7) % 5 - 2) / 2
    right = min(0.8, 0.3 + step / 100) + noise
    return {
        "reward/mean": right, "reward/correct": right, "reward/min": 0.0, "reward/max": 1.0, "reward/std": 0.4, "reward/failures": 0.0,
        "groups/all_equal": 0.2 + step / 500, "groups/no_signal": 0.2 + step / 500, "groups/rejected": 0.0,
        "length/truncated": 0.01, "length/mean": 3.5 + noise, "tokens": 1800.0, "learned_tokens": 1800.0, "bad_logprobs": 0.0,
        "grad_norm": 3.0 + 10 * noise, "entropy": 0.48 - step / 400, "lr": 1e-4, "updates_skipped": float(step > 30),
        "policy_kl": 0.002 + abs(noise) / 10, "ratio/abs_log": 0.01 + abs(noise) / 4, "ratio/max_abs_log": 1.0 + 20 * noise,
        "clip/low": 0.01, "clip/high": 0.01, "mismatch/kl": 1e-3 + abs(noise) / 100, "routing/missing": 0.0,
        "load/dead": 1.0 + (step % 3 == 0), "load/entropy_worst": 0.75 + noise / 4, "load/max_over_mean_worst": 2.9,
        "seconds/step": 1.5, "seconds/generate": 0.6, "seconds/score": 0.02, "seconds/publish": 0.1, "seconds/save": 2.0 * (step % 50 == 1),
        "seconds/evaluate": 2.0 * (step % 30 == 0), "share/generate": 0.4, "share/learn": 0.45, "window/generating": 20.0,
        "window/scoring": 1.0, "window/finished": 5.0, "staleness/mean": 0.0, "staleness/max": 0.0, "engines/died": 0.0,
        "learner/restarts": 0.0, "eval/greedy": 0.3 + step / 200 if step % 30 == 0 else NAN,
    }  # fmt: skip


def course(steps: int, change: Callable[[int], Row], prompts: int = 7844, **sections: Any) -> dict[str, str]:
    """The first text of each rule over a run whose steps differ from healthy ones by `change`."""
    history = History(run_config(Path("x"), **{"rollout": SIZES, **sections}), prompts=prompts)
    said: dict[str, str] = {}
    for step in range(1, steps + 1):
        history.add({"step": step, **healthy(step), **change(step)})
        for rule in RULES:
            if found := rule.test(history):
                assert found.seen
                assert found.advice
                said.setdefault(rule.name, f"{step}: {found.message}")
    return said


def after(start: int, **values: float) -> Callable[[int], Row]:
    return lambda step: dict(values) if step >= start else {}


def flat(**values: float) -> Callable[[int], Row]:
    """From the start on, with a reward that does not move."""
    return lambda step: dict.fromkeys(("reward/mean", "reward/correct"), 0.4 + 0.01 * (step % 3)) | values


def rising(key: str, least: float, most: float, over: int = 20, **values: float) -> Callable[[int], Row]:
    """One metric that rises over some steps while the reward does not move."""
    return lambda step: flat(**values)(step) | {key: least + (most - least) * min(step / over, 1)}


WRONG = {"reward/mean": 0.0, "reward/correct": 0.0, "reward/max": 0.0, "groups/all_equal": 1.0, "groups/no_signal": 1.0, "grad_norm": 0.0}
RIGHT = {**WRONG, "reward/mean": 1.0, "reward/correct": 1.0}
FORMAT = {"reward/correct": 0.0, "groups/all_equal": 1.0, "reward/part/tags": 0.4, "reward/part/second": 0.1}
AHEAD: Any = {"run": {"dir": "x", "max_staleness": 2}}
SOURCES = {"data": {"train": None, "sources": {"sums": {"path": "a.jsonl"}, "words": {"path": "b.jsonl"}}, "chat_template": False}}
TAGS = {"reward": {"checker": "exact", "parts": {"tags": {"checker": "tags", "weight": 0.5, "reference": ["think", "answer"]}}}}
STALE = {"staleness/mean": 2.0, "staleness/max": 2.0, "share/generate": 0.01}
IDLE = {"share/generate": 0.0, "share/learn": 0.9, "window/generating": 1.0}


@pytest.mark.parametrize("sections", [{}, AHEAD, {"objective": {"preset": "gspo"}}, SOURCES, {"rollout": {**SIZES, "ahead": 0}, **AHEAD}])
def test_a_healthy_run_is_silent(sections: Any) -> None:
    assert course(90, lambda _: {}, **sections) == {}


ILL: list[tuple[str, Callable[[int], Row], int, str, Any]] = [
    ("all_wrong", after(1, **WRONG), 3, "data.reference_field", {}),
    ("collapsed", after(20, **WRONG), 22, "lower learner.lr from 1e-06 to 3e-07", {}),
    ("all_right", after(1, **RIGHT), 3, "reward.checker may accept too much", {}),
    ("all_right", after(5, **RIGHT), 7, "harder prompts", {}),
    ("all_alike", after(5, **{**WRONG, "reward/correct": 0.4, "reward/mean": 0.4}), 7, "rollout.group_size from 8 to 16", {}),
    ("little_signal", flat(**{"groups/no_signal": 0.9}), 10, "rollout.dynamic_sampling = true", {}),
    ("rejects_most", after(1, **{"groups/rejected": 300.0}), 10, 'data.sampler = "difficulty"', {"objective": {"preset": "dapo"}}),
    ("part_alone", after(1, **FORMAT), 5, "the reward comes from tags alone", {}),
    ("format_learned", rising("reward/part/tags", 0.1, 0.9), 20, "reward.parts.tags.weight from 0.5 to 0.125", TAGS),
    ("source_wrong", after(1, **{"source/words/correct": 0.0}), 10, "data.sources.words.reference_field", SOURCES),
    ("truncated", after(1, **{"length/truncated": 1.0}), 3, "all responses of the last 3 steps are cut off", {}),
    ("truncated", after(1, **{"length/truncated": 0.6}), 3, "raise it to 16", {}),
    ("truncation_rises", lambda s: flat(**{"length/truncated": 0.6 * (s > 8)})(s), 11, "up from 0% at the start", {}),
    ("truncation_rises", rising("length/truncated", 0.0, 0.4, 20), 18, "reward.overlong_cache = 2", {}),
    ("length_grows", rising("length/mean", 3.0, 9.0), 20, "while correctness does not rise (it began at", {}),
    ("length_collapses", lambda s: flat(**{"length/mean": 8.0 if s < 9 else 1.0})(s), 17, "shrank from 8 to 1.7 tokens", {}),
    ("thoughts_unfinished", after(1, **{"reward/unfinished_thoughts": 400.0}), 5, "rollout.max_response_tokens from 8 to 16", {}),
    ("checkers_disagree", after(1, **{"reward/disagreement": 0.4}), 5, "disagree on 40%", {"reward": {"second": "math"}}),
    ("checker_slow", after(1, **{"seconds/score": 5.0, "seconds/generate": 6.0}), 5, "reward.workers from 1 to 2", {}),
    ("environment_slow", after(1, **{"window/answering": 190.0}), 10, "90% of the unfinished groups", {}),
    ("held_out_falls", lambda s: {"eval/greedy": 0.2} if s in (50, 60) else {}, 60, "from 0.450 (step 30) to 0.200", {}),
    ("held_out_falls", lambda s: {"eval/sums/greedy": 0.9 - s / 100} if s % 20 == 0 else {}, 60, "data.train", {}),
    ("updates_dropped", lambda s: {"updates_skipped": float(max(0, s - 10)), "grad_norm": NAN}, 13, "were not finite, or spiked", {}),
    ("nothing_learned", after(4, **{"learned_tokens": 0.0}), 6, "no response of the last 3 steps was learned", {}),
    ("no_gradient", after(4, **{"grad_norm": 0.0}), 6, "the gradient was 0", {}),
    ("bad_logprobs", after(4, **{"bad_logprobs": 200.0}), 4, "rollout.dtype", {}),
    ("rate_too_high", after(4, **{"ratio/abs_log": 0.2}), 5, "lower learner.lr from 1e-06 to 3e-07, and start", {}),
    ("rate_too_high", lambda s: {"ratio/abs_log": 0.5} if s == 1 else {}, 1, "the step changed the log-prob of a token by 0.5", {}),
    ("rate_too_low", flat(**{"ratio/abs_log": 1e-8}), 20, "raise learner.lr from 1e-09 to 1e-08",
     {"learner": {"lr": 1e-9, "updates_per_step": 2}}),
    ("gradient_spikes", lambda s: {"grad_norm": 90.0} if s % 3 == 0 and s > 30 else {}, 39, 'learner.on_spike = "skip"', {}),
    ("ratio_spikes", after(9, **{"ratio/max_abs_log": 8.0}), 13, "objective.cap = 3", {}),
    ("clipped", after(10, **{"clip/low": 0.4}), 13, "objective.clip_low", {}),
    ("reward_falls", after(40, **{"reward/mean": 0.2}), 45, "while every gradient was clipped to learner.max_grad_norm (1)", {}),
    ("reward_falls", lambda s: {"grad_norm": 90.0 if s == 41 else 0.5, **after(42, **{"reward/mean": 0.1})(s)}, 46, "norm of 90", {}),
    ("reward_falls", lambda s: {"reward/mean": 0.9 if s == 1 else 0.05}, 6, "fell from 0.900 in step 1 to 0.050", {}),
    ("entropy_vanishes", after(20, **{"entropy": 0.01, "reward/mean": 0.4, "groups/no_signal": 0.9}), 29, "rollout.temperature", {}),
    ("entropy_explodes", rising("entropy", 0.4, 2.4), 7, "lower entropy.coefficient from 0.1 to 0.01", {"entropy": {"coefficient": 0.1}}),
    ("mismatch_jumps", after(30, **{"mismatch/kl": 0.05}), 32, "set mismatch.share", {}),
    ("mismatch_high", after(1, **{"mismatch/kl": 0.2}), 3, "learner.head_dtype", {}),
    ("stale_policy", after(1, **{"mismatch/kl": 0.2, "staleness/mean": 2.0}), 5, "run.max_staleness from 2 to 1", AHEAD),
    ("routing_missing", after(1, **{"routing/missing": 100.0}), 3, 'learner.missing_routing = "mask"', {}),
    ("experts_die", after(9, **{"load/dead": 7.0}), 13, "(load/dead), where 1.2 did at the start: set learner.aux_loss = 0.001", {}),
    ("experts_uneven", after(9, **{"load/entropy_worst": 0.4}), 12, "its entropy fell from 0.75 to", {}),
    ("engines_die", after(9, **{"engines/died": 1.0}), 11, "engines died 3 times", {}),
    ("stragglers", after(1, **{"window/finished": 50.0, "window/generating": 3.0}), 10, "run.max_staleness = 1 with rollout.ahead = 0", {}),
    ("learner_waits", after(1, **{"share/generate": 0.6}), 10, "rollout.engines from 1 to 2", AHEAD),
    ("engines_wait", after(1, **IDLE), 10, "learner.ranks from 1 to 2", AHEAD),
    ("staleness_at_bound", after(1, **STALE), 10, "rollout.ahead from 2 to 1", AHEAD),
    ("staleness_at_bound", after(1, **{**STALE, "share/generate": 0.35}), 10, "raise run.max_staleness to 3",
     {**AHEAD, "rollout": {**SIZES, "ahead": 1}}),
    ("overhead", after(1, **{"seconds/save": 0.8}), 20, "run.save_every", {"run": {"dir": "x", "save_every": 2}}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "change", "begins", "words", "sections"), ILL)
def test_an_ill_run_is_named(name: str, change: Callable[[int], Row], begins: int, words: str, sections: Any) -> None:
    said = course(60, change, **sections)
    assert name in said, said
    step, _, text = said[name].partition(": ")
    assert (int(step), words in text) == (begins, True), said[name]
    assert [key for found in said.values() for key in unknown_keys(found)] == []


def unknown_keys(text: str) -> list[str]:
    """The keys of a finding that no config can have."""
    sections = known_keys()
    named = re.findall(r"\b([a-z]+)\.([a-z_]+)\b", text)
    return [f"{section}.{key}" for section, key in named if section in sections and key not in sections[section]]


def test_advice_names_keys_that_exist() -> None:
    assert unknown_keys("lower learner.lr or learner.rate in metrics.jsonl") == ["learner.rate"]


EPISODES = {"calls_fail", "no_calls", "answers_cut", "out_of_turns"}  # in tests/cluster/test_episode_metrics.py
PROMPTS = {"prompts_repeat"}


def test_every_rule_has_a_course_that_shows_it() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
    assert {name for name, *_ in ILL} | EPISODES | PROMPTS == set(names)


def test_every_rule_has_a_row_in_the_docs() -> None:
    page = Path("docs/health.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)
    assert sorted({"reward_failures", "mismatch_alarm", *(rule.name for rule in RULES)}) == sorted(rows)


@pytest.mark.parametrize(
    ("epochs", "correct", "evaluated", "words"),
    [
        (9, 0.9, 0.3, "each of the 284 training prompts has come up"),
        (9, 0.9, 0.8, ""),  # what is learned carries over
        (2, 0.9, 0.3, ""),
        (40, 0.9, NAN, "nothing is held out"),
        (9, 0.9, NAN, ""),
    ],
)
def test_prompts_that_repeat_are_named_where_what_is_learned_does_not_carry_over(
    epochs: int, correct: float, evaluated: float, words: str
) -> None:
    def change(step: int) -> Row:
        right = correct if step > 5 else 0.2
        return {"reward/correct": right, "reward/mean": right, "eval/greedy": evaluated if step > 1 or math.isnan(evaluated) else 0.3}

    said = course(40, change, prompts=64 * 40 // epochs)
    assert (words in said.get("prompts_repeat", "")) if words else "prompts_repeat" not in said


@pytest.mark.parametrize(("prompts", "found"), [(30, False), (1000, True)])
def test_held_out_correctness_must_fall_by_more_than_chance_in_so_many_prompts(prompts: int, found: bool) -> None:
    history = History(run_config(Path("x")), held_out={"held-out": prompts})
    findings = []
    for step, correct in ((10, 0.5), (20, 0.35), (30, 0.35)):
        history.add({"step": step, "reward/mean": step / 100, "eval/greedy": correct})
        findings += [rule.test(history) for rule in RULES if rule.name == "held_out_falls"]
    assert any(findings) is found


@pytest.mark.parametrize(
    ("change", "sections", "silent"),
    [
        (after(1, **RIGHT, **{"reward/failures": 300.0}), {}, "all_right"),  # what failed is not right
        (after(5, **{"entropy": 0.001, "reward/mean": 0.97, "reward/correct": 0.97, "groups/no_signal": 0.9}), {}, "entropy_vanishes"),
        (after(20, **{"entropy": 0.02, "reward/mean": 0.87, "groups/no_signal": 0.55}), {}, "entropy_vanishes"),  # groups still differ
        (lambda s: {"policy_kl": 0.3, "ratio/max_abs_log": 7.0} if s == 4 else {}, {}, "ratio_spikes"),  # one token in thousands
        (lambda s: {"ratio/abs_log": 0.2} if s == 4 else {}, {}, "rate_too_high"),
        (after(1, **{"ratio/abs_log": 0.3}), {**AHEAD, "objective": {"old": "engine"}}, "rate_too_high"),
        (lambda s: {"length/mean": 3.0 + s}, {}, "length_grows"),  # the reward rises too
        (lambda s: flat(**{"ratio/abs_log": 1e-8, "lr": 1e-9})(s), {"learner": {"lr": 1e-6, "updates_per_step": 2}}, "rate_too_low"),
        (after(1, **{"share/generate": 0.9}), {}, "learner_waits"),  # takes turns by design
        (flat(**{"groups/no_signal": 0.9}), {"objective": {"preset": "dapo"}}, "little_signal"),  # such groups are sampled again
        (rising("entropy", 0.4, 2.4), {}, "entropy_explodes"),  # without a bonus
        (after(1, **{"seconds/save": 0.8}), {}, "overhead"),  # a slow disk: no save is due
        (lambda s: {"entropy": NAN if s == 1 else 3.0}, {"entropy": {"coefficient": 0.1}}, "entropy_explodes"),  # the start is unknown
        (after(1, **{"mismatch/kl": 0.2}), {"mismatch": {"alarm": 0.01}}, "mismatch_high"),
        (lambda s: {"load/dead": 9.0 if s % 4 == 0 else 1.0}, {}, "experts_die"),
        (after(1, **{"seconds/score": 0.05, "seconds/generate": 0.06, "share/generate": 0.9}), {}, "checker_slow"),
    ],
)
def test_what_looks_like_an_illness_and_is_none(change: Callable[[int], Row], sections: Any, silent: str) -> None:
    assert silent not in course(60, change, **sections)


def test_a_few_small_steps_without_a_right_answer_say_nothing() -> None:
    few: Any = {"rollout": {"groups_per_step": 4, "group_size": 2, "max_response_tokens": 8}}
    assert course(11, after(1, **WRONG), **few).keys() & {"all_wrong"} == set()
    assert "all_wrong" in course(12, after(1, **WRONG), **few)


def test_a_jump_of_the_mismatch_under_staleness_names_staleness_and_is_left_to_the_alarm_where_one_is_set() -> None:
    jump = after(30, **{"mismatch/kl": 0.05})
    assert "run.max_staleness from 2 to 1" in course(60, jump, **AHEAD)["mismatch_jumps"]
    assert course(60, jump, **AHEAD, mismatch={"alarm": 0.01}) == {}


def test_groups_that_are_alike_within_teach_an_advantage_that_compares_groups() -> None:
    alike = after(5, **{"groups/all_equal": 1.0, "groups/no_signal": 1.0})
    for advantage in ("whitened", "decoupled"):
        assert course(20, alike, objective={"advantage": advantage}) == {}
    assert list(course(20, alike)) == ["all_alike"]


def test_a_step_without_numbers_stops_no_rule() -> None:
    assert course(30, lambda _: dict.fromkeys(healthy(1), NAN)) == {}
