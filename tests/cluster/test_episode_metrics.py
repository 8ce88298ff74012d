"""What a run records and says of its episodes; a run without them says nothing new."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.commands.runs.summary import summary
from cluster.health.history import History
from cluster.health.ranked import RULES
from cluster.loop.evaluation import evaluate_set
from cluster.record.metrics.episodes import describe_episodes
from cluster.record.metrics.metrics import Metrics, describe_groups, read_metrics
from cluster.record.metrics.sources import describe_sources
from cluster.record.progress.line import describe_step
from rollout.prompts.prompts import EvalSet
from rollout.types import GroupSummary
from tests.toys.run import run_config, toy_summary

LINE = {"reward/mean": 0.5, "length/mean": 12.0, "entropy": 1.25, "seconds/step": 2.0}


def episode_summary(group: int = 0, **fields: Any) -> GroupSummary:
    """A group of two episodes: of 3 turns with 4 calls, and of 1 turn."""
    several: dict[str, Any] = {
        "lengths": np.array([20, 5]), "sampled": np.array([12, 5]), "turns": np.array([3, 1]), "tool_calls": np.array([4, 0]),
        "tool_errors": np.array([1, 0]), "cut_replies": np.array([1, 0]), "environment_s": np.array([0.5, 0.25]),
        "truncated": np.array([True, True]), "talks": True,
    }  # fmt: skip
    return replace(toy_summary(group, [1.0, 0.0]), **several | fields)


def test_metrics_of_episodes_are_means_over_episodes_and_lengths_are_what_the_model_said() -> None:
    groups = [episode_summary(0, source="games"), toy_summary(1, [1.0, 0.0], lengths=[7, 7])]
    assert describe_episodes(groups, 3) == {
        "turns/mean": 2.0, "turns/max": 3.0, "turns/exhausted": 0.5, "tokens/environment": 8.0, "tool/calls": 2.0, "tool/errors": 0.5,
        "tool/cut": 0.5, "seconds/environment": 0.375,
    }  # fmt: skip
    assert describe_episodes(groups, 4)["turns/exhausted"] == 0.0, "cut off for lack of room is not out of turns"
    described = describe_groups(groups, 1)
    assert (described["length/mean"], described["length/max"], described["tokens"]) == (7.75, 12.0, 31.0)
    assert describe_sources(["games"], groups, [])["source/games/length"] == 8.5


def test_a_run_without_episodes_has_none_of_these_keys_and_one_whose_model_never_calls_has_zeros() -> None:
    assert describe_episodes([toy_summary(0, [1.0, 0.0])], 8) == {}
    silent = describe_episodes([replace(toy_summary(0, [1.0, 0.0]), talks=True)], 8)
    assert (silent["tool/calls"], silent["turns/mean"], silent["turns/exhausted"]) == (0.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "length 12  entropy 1.250"),
        ({"turns/mean": 2.5, "tool/calls": 0.0}, "length 12  turns 2.5  entropy 1.250"),
        ({"turns/mean": 2.5, "tool/calls": 1.75}, "length 12  turns 2.5  calls 1.75  2 s a step"),
        ({"turns/mean": 2.5, "tool/calls": 1.75, "eval/greedy": 0.5}, "turns 2.5  held-out 0.500"),
    ],
)
def test_the_line_of_a_step_has_turns_and_calls_where_there_are_any(more: dict[str, float], said: str) -> None:
    assert said in describe_step(LINE | more, 9.0)


def rules(*names: str, steps: int = 16, change: Callable[[int], dict[str, float]], **sections: Any) -> dict[str, str]:
    """What the named rules say at the end of a run of such steps."""
    history = History(run_config(Path("x"), **sections))
    for step in range(1, steps + 1):
        history.add({"step": step, **change(step)})
    found = {rule.name: rule.test(history) for rule in RULES}
    return {name: finding.message for name in names if (finding := found[name])}


EVERY = ("out_of_turns", "answers_cut", "calls_fail", "no_calls", "truncated")
FINE = {"turns/exhausted": 0.1, "tool/cut": 0.0, "tool/calls": 2.0, "tool/errors": 0.5, "length/truncated": 0.1}


@pytest.mark.parametrize(
    ("values", "warned", "words"),
    [
        ({}, [], ""),
        ({"turns/exhausted": 0.49, "tool/cut": 0.4, "tool/errors": 1.8}, [], ""),
        ({"turns/exhausted": 0.6, "length/truncated": 0.6}, ["out_of_turns"], "60% of the episodes"),
        ({"turns/exhausted": 1.0, "length/truncated": 1.0}, ["out_of_turns"], "all episodes"),
        ({"turns/exhausted": 0.1, "length/truncated": 0.9}, ["truncated"], "rollout.max_response_tokens"),
        ({"tool/cut": 1.5}, ["answers_cut"], "1.5 answers an episode were cut at rollout.max_reply_tokens"),
        ({"tool/errors": 2.0}, ["calls_fail"], "all tool calls of the last 3 steps failed"),
        ({"tool/errors": 1.95}, ["calls_fail"], "98% of the tool calls"),
        ({"tool/calls": 0.0, "tool/errors": 0.0}, [], "no tools are in use"),
    ],
)
def test_an_ill_course_of_episodes_is_named(values: dict[str, float], warned: list[str], words: str) -> None:
    found = rules(*EVERY, change=lambda _: FINE | values)
    assert sorted(found) == warned
    assert all(words in text for text in found.values())


def test_a_run_without_episodes_hears_nothing_of_them() -> None:
    assert rules(*EVERY, change=lambda _: {"length/truncated": 0.1}) == {}


def test_an_evaluation_says_how_many_turns_and_calls_its_greedy_episodes_had() -> None:
    async def respond(group: int, prompt: object, size: int, temperature: float, learned: bool) -> Any:
        summary = episode_summary() if size == 2 else replace(toy_summary(0, [1.0]), talks=True, turns=np.array([4]))
        return SimpleNamespace(summary=replace(summary, talks=prompt == "talks"))

    engines: Any = SimpleNamespace(config=run_config(Path("x")), respond=respond)
    plain: Any = EvalSet(name="", path="p", samples=2, prompts=["plain"])  # type: ignore[list-item]
    talks: Any = EvalSet(name="games", path="p", samples=2, prompts=["talks"])  # type: ignore[list-item]
    found = asyncio.run(evaluate_set(engines, talks))
    assert (found["eval/games/turns"], found["eval/games/tool_calls"], found["eval/games/greedy"]) == (4.0, 0.0, 1.0)
    assert "eval/turns" in asyncio.run(evaluate_set(engines, plain)), "several turns were had"


def response(said: list[str], reward: float | None) -> dict[str, Any]:
    turns = [{"said": text, "answered": "lower" if text != said[-1] else None} for text in said]
    return {"prompt": "guess:\u2028", "turns": turns, "response": said[-1], "reward": reward}


def test_the_end_of_a_run_shows_an_episode_of_its_first_and_of_its_last_step(tmp_path: Path) -> None:
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(1, LINE | {"tokens": 30.0})
    metrics.close()
    folder = tmp_path / "responses"
    folder.mkdir()
    rows = {
        1: [response(["8"], None), response(["5"], 1.0), response(["9", "7"], 0.0), {"prompt": "", "response": "x", "reward": 0.0}],
        2: [response(["0"], None)],
        10: [response(["9"], None), response(["9", "\x1b[2J5"], 1.0)],
    }
    for step, kept in rows.items():
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept)
        (folder / f"step_{step:06d}.jsonl").write_text(lines, encoding="utf-8")
    assert summary(tmp_path)[3:] == [
        "before   an episode of step 1, reward 0:",
        "         prompt  guess:\\u2028",
        "         model   9",
        "         answer  lower",
        "         model   7",
        "after    an episode of step 10, reward 1:",
        "         prompt  guess:\\u2028",
        "         model   9",
        "         answer  lower",
        "         model   \\x1b[2J5",
    ]
    assert len(read_metrics(tmp_path)) == 1
