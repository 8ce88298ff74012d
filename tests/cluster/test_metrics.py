import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.actors.engines import Scored
from cluster.commands.runs.summary import summary
from cluster.record.health_log import HealthLog
from cluster.record.metrics.metrics import Metrics, describe_groups, read_metrics, texts_per_group
from cluster.record.metrics.responses import describe_response
from configs.presets import PRESETS
from learner.batch.plan import weigh
from rollout.transcript.episode import Answer, Turn
from rollout.types import Outcome, Prompt, Verdict
from rollout.window.scored import Text
from tests.toys.run import run_config, toy_summary


def write_steps(folder: Path, first: int, last: int, *, after: int = 0, note: float = 0.0) -> None:
    metrics = Metrics(run_config(folder), after)
    for step in range(first, last + 1):
        metrics.write(step, {"reward/mean": step / 10, "note": note})
    metrics.close()


def steps(folder: Path) -> list[int]:
    return [row["step"] for row in read_metrics(folder)]


def test_each_step_is_one_line_of_json_with_its_keys_in_order(tmp_path: Path):
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(3, {"b": 2.0, "a": np.float32(1.5)})
    metrics.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 3, "a": 1.5, "b": 2.0}\n'


def test_what_is_no_number_is_written_as_null(tmp_path: Path):
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(1, {"nan": float("nan"), "inf": float("-inf"), "zero": 0.0})
    assert read_metrics(tmp_path) == [{"step": 1, "inf": None, "nan": None, "zero": 0.0}]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()


def test_a_line_is_on_disk_as_soon_as_its_step_is_over(tmp_path: Path):
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(1, {"a": 1.0})
    assert steps(tmp_path) == [1]


def test_lines_after_the_checkpoint_are_cut_when_a_run_is_continued(tmp_path: Path):
    write_steps(tmp_path, 0, 7, note=1.0)
    write_steps(tmp_path, 6, 8, after=5, note=2.0)
    assert [(row["step"], row["note"]) for row in read_metrics(tmp_path)] == [(s, 1.0) for s in range(6)] + [(6, 2.0), (7, 2.0), (8, 2.0)]


def test_a_run_that_starts_over_keeps_no_line_of_the_attempt_before_its_first_checkpoint(tmp_path: Path):
    write_steps(tmp_path, 0, 3)
    write_steps(tmp_path, 0, 2)
    assert steps(tmp_path) == [0, 1, 2]


@pytest.mark.parametrize("half", ['{"step": 3, "rew', '{"step": 3, "reward/mean": 0.3', "\x00\x00"])
def test_a_line_that_a_killed_driver_left_half_written_is_passed_over(tmp_path: Path, half: str):
    write_steps(tmp_path, 1, 2)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write(half)
    assert steps(tmp_path) == [1, 2]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('\n{"step": 4}\n')
    assert steps(tmp_path) == [1, 2, 4], "nor does it hide what comes behind it"


def test_a_half_written_line_is_gone_once_the_run_goes_on(tmp_path: Path):
    write_steps(tmp_path, 1, 3)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "re')
    write_steps(tmp_path, 3, 4, after=2)
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


def test_a_token_is_stale_by_the_steps_learned_since_its_weights_went_out():
    fresh, older = toy_summary(0, [1.0, 0.0], oldest=4), toy_summary(1, [1.0, 0.0], oldest=2)
    described = describe_groups([fresh, older], step=5)
    assert (described["staleness/max"], described["staleness/mean"]) == (2.0, 1.0)
    assert describe_groups([fresh], step=5)["staleness/max"] == 0.0


def test_failed_verdicts_count_as_failures_and_never_as_a_reward():
    groups = [toy_summary(0, [1.0, None, 0.0, 0.5], lengths=[1, 2, 3, 6]), toy_summary(1, [1.0, 1.0, None, None])]
    described = describe_groups(groups, step=1)
    expected = {
        "reward/mean": 0.7, "reward/min": 0.0, "reward/max": 1.0, "reward/std": 0.4, "reward/correct": 0.7, "reward/failures": 3.0,
        "groups/all_equal": 0.5, "length/mean": 2.5, "length/max": 6.0, "length/truncated": 0.0, "tokens": 20.0,
    }  # fmt: skip
    assert {key: described[key] for key in expected} == pytest.approx(expected)


def test_a_step_in_which_every_verdict_failed_has_no_reward_rather_than_zero():
    described = describe_groups([toy_summary(0, [None, None])], step=1)
    assert all(np.isnan(described[key]) for key in ("reward/mean", "reward/std", "reward/min", "reward/max", "reward/correct"))
    assert (described["reward/failures"], described["groups/all_equal"]) == (2.0, 1.0)


def test_a_few_responses_are_kept_as_people_read_them(tmp_path: Path):
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="exact", text="2+2=")
    failed = Verdict.failed(Outcome.TIMED_OUT, "timeout")
    texts = [Text(0, "4", Verdict(reward=1.0, parts={"correct": 1.0})), Text(1, "fünf", failed)]
    summary = replace(toy_summary(9, [1.0, None]), truncated=np.array([False, True]))
    group = Scored(summary=summary, texts=texts, tokens=None, engine=0, prompt=prompt)
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write_responses(2, [group, group], limit=3)
    metrics.write_responses(3, [group], limit=0)
    (kept,) = (tmp_path / "responses").iterdir()
    rows = [json.loads(line) for line in kept.read_text().splitlines()]
    assert kept.name == "step_000002.jsonl"
    keys = ("member", "prompt", "response", "tokens", "finish", "reference", "checker", "reward", "outcome", "failure")
    first = (0, "2+2=", "4", 2, "stop", "4", "exact", 1.0, "scored", None)
    second = (1, "2+2=", "fünf", 2, "length", "4", "exact", None, "timed_out", "timeout")
    assert [tuple(row[key] for key in keys) for row in rows] == [first, first, second]


def test_responses_over_which_two_checkers_disagree_are_kept_a_group_at_a_time(tmp_path: Path):
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="exact", text="2+2=")
    same, odd = Verdict(reward=1.0, parts={"correct": 1.0, "second": 0.9}), Verdict(reward=0.0, parts={"correct": 0.0, "second": 1.0})
    unknown = Verdict(reward=1.0, parts={"correct": 1.0})
    texts = [Text(0, "a", same), Text(1, "b", odd), Text(2, "c", unknown), Text(3, "d", odd)]
    groups = [Scored(summary=toy_summary(g, [1.0] * 4), texts=texts, tokens=None, engine=0, prompt=prompt) for g in (7, 8)]
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write_disagreements(2, groups, limit=3)
    metrics.write_disagreements(3, groups, limit=0)
    (kept,) = (tmp_path / "disagreements").iterdir()
    assert [(row["group"], row["response"]) for row in map(json.loads, kept.read_text().splitlines())] == [(7, "b"), (8, "b"), (7, "d")]


def test_parts_outcomes_and_disagreement_of_a_step_are_told():
    nan = float("nan")
    parts = {"correct": np.array([1.0, nan, 0.0]), "tags": np.array([0.5, nan, 1.0]), "second": np.array([1.0, nan, 1.0])}
    described = describe_groups([toy_summary(0, [1.0, None, 0.0], parts=parts), toy_summary(1, [1.0, 1.0, 1.0])], step=1)
    assert described["groups/no_signal"] == 0.5
    expected = {
        "reward/part/tags": 0.75,
        "reward/part/second": 1.0,
        "reward/disagreement": 0.5,
        "reward/crashed": 1.0,
        "reward/timed_out": 0.0,
    }
    assert {key: described[key] for key in expected} == pytest.approx(expected)
    assert "reward/part/correct" not in described


def test_the_end_of_a_run_says_where_it_lies_and_what_it_achieved(tmp_path: Path):
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(0, {"eval/greedy": 0.25})
    for step in range(1, 21):
        metrics.write(step, {"reward/mean": step / 20 if step != 20 else float("nan"), "tokens": 300.0, "seconds/step": 1.5})
    metrics.write(21, {"reward/mean": 1.0, "tokens": 300.0, "seconds/step": 1.5, "eval/greedy": 0.75})
    (tmp_path / "reward.png").touch()
    warnings = HealthLog(tmp_path)
    warnings.begin(3, "truncated", "all responses are cut off", "raise it")
    warnings.end(9, "truncated")
    warnings.begin(20, "no_signal", "nothing is learned", "lower it")
    assert summary(tmp_path) == [
        f"run      {tmp_path}",
        "reward   0.050 at step 1 -> 0.775 (mean of the last 10 steps)",
        "speed    200 generated tokens/s over 20 steps, 1.50 s a step",
        "held-out 0.250 -> 0.750 correctness of greedy responses",
        "best     reward 0.775 at step 21",
        f"picture  {tmp_path / 'reward.png'}",
        "warning  steps 3 to 9: all responses are cut off: raise it",
        "warning  since step 20: nothing is learned: lower it",
    ]


def test_a_run_without_a_step_still_says_where_it_lies(tmp_path: Path):
    Metrics(run_config(tmp_path), 0).close()
    assert summary(tmp_path) == [f"run      {tmp_path}"]


def test_a_run_of_one_step_is_described_in_the_singular_and_an_earlier_evaluation_that_was_better_is_named(tmp_path: Path):
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(0, {"eval/greedy": 0.5})
    metrics.write(1, {"reward/mean": 0.25, "tokens": 300.0, "seconds/step": 1.5, "eval/greedy": 0.25})
    assert summary(tmp_path)[1:] == [
        "reward   0.250 at step 1 -> 0.250 (step 1)",
        "speed    200 generated tokens/s over 1 step, 1.50 s a step",
        "held-out 0.500 -> 0.250 correctness of greedy responses (best 0.500 at step 0)",
    ]


def layers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "layers.jsonl").read_text().splitlines()]


def test_values_of_single_layers_are_lists_in_a_file_of_their_own(tmp_path: Path):
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write(1, {"loss": 0.5})
    assert not (tmp_path / "layers.jsonl").exists()
    metrics.write(2, {"loss": 0.5, "a/differ": 0.2, "a/differ/layer_00": 0.1, "a/differ/layer_02": 0.3, "b/layer_01": float("inf")})
    metrics.flush()
    metrics.close()
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5}, {"step": 2, "a/differ": 0.2, "loss": 0.5}]
    assert layers(tmp_path) == [{"step": 2, "a/differ": [0.1, None, 0.3], "b": [None, None, None]}]


def test_lines_of_layers_are_cut_with_the_others_when_a_run_is_continued(tmp_path: Path):
    for first, after in ((1, 0), (3, 2)):
        metrics = Metrics(run_config(tmp_path), after)
        for step in range(first, 5):
            metrics.write(step, {"a/layer_00": float(after)})
        metrics.close()
    assert [(row["step"], row["a"]) for row in layers(tmp_path)] == [(1, [0.0]), (2, [0.0]), (3, [2.0]), (4, [2.0])]


def test_a_kept_response_has_its_advantage_and_the_numbers_of_its_group(tmp_path: Path):
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="exact", text="2+2=")
    texts = [Text(member, "4", Verdict(reward=1.0)) for member in range(3)]
    mixed = Scored(summary=toy_summary(7, [1.0, 0.0, None]), texts=texts, tokens=None, engine=0, prompt=prompt)
    equal = Scored(summary=toy_summary(8, [1.0, 1.0, 1.0]), texts=texts, tokens=None, engine=0, prompt=prompt)
    metrics = Metrics(run_config(tmp_path, objective={"preset": "dr_grpo"}), 0)
    metrics.write_responses(1, [mixed, equal], limit=6)
    rows = [json.loads(line) for line in (tmp_path / "responses/step_000001.jsonl").read_text().splitlines()]
    assert [(row["group"], row["member"], row["advantage"]) for row in rows] == [
        (7, 0, 0.5), (8, 0, 0.0), (7, 1, -0.5), (8, 1, 0.0), (7, 2, None), (8, 2, 0.0),
    ]  # fmt: skip
    assert (rows[0]["group_rewards"], rows[0]["group_advantages"]) == ([1.0, 0.0, None], [0.5, -0.5, None])
    assert rows[0]["group_tokens"] == [2, 2, 2]


def test_the_turns_of_an_episode_have_their_own_advantages_with_credit_by_turn():
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="own:guess", text="guess: ")
    said = (Turn(said="1", answer=Answer(words="up")), Turn(said="2", answer=Answer(words=None)))
    texts = [Text(member, "2", Verdict(reward=1.0), said) for member in range(2)]
    earned = (np.array([1.0, 0.0]), np.array([0.0, 0.0]))
    summary = replace(toy_summary(7, [1.0, 0.0]), turns=np.array([2, 2]), turn_rewards=earned)
    group = Scored(summary=summary, texts=texts, tokens=None, engine=0, prompt=prompt)
    (weighed,) = weigh([summary], PRESETS["grpo"], overlong_filter=False, credit="turn")
    rows = [describe_response(group, text, weighed) for text in texts]
    assert [[turn["advantage"] for turn in row["turns"]] for row in rows] == [[1.0, 0.0], [-1.0, 0.0]]
    assert [row["advantage"] for row in rows] == [1.0, -1.0]


@pytest.mark.parametrize(
    ("limit", "spread", "kept"),
    [
        (4, 0, [(0, 0), (1, 0), (2, 0), (0, 1)]),
        (4, 1, [(0, 0), (0, 1), (0, 2), (0, 3)]),
        (4, 2, [(0, 0), (1, 0), (0, 1), (1, 1)]),
        (4, 99, [(0, 0), (1, 0), (2, 0), (0, 1)]),  # more groups than a step has
        (99, 1, [(0, 0), (0, 1), (0, 2), (0, 3)]),  # more responses than a group has
        (0, 1, []),
    ],
)
def test_kept_responses_come_from_as_many_groups_as_asked(tmp_path: Path, limit: int, spread: int, kept: list[tuple[int, int]]):
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="exact", text="2+2=")
    texts = [Text(member, "4", Verdict(reward=1.0)) for member in range(4)][: texts_per_group(limit, 3, spread)]
    groups = [Scored(summary=toy_summary(g, [1.0] * 4), texts=texts, tokens=None, engine=0, prompt=prompt) for g in range(3)]
    Metrics(run_config(tmp_path, run={"dir": str(tmp_path), "steps": 4, "sample_groups": spread}), 0).write_responses(1, groups, limit)
    files = list((tmp_path / "responses").glob("*"))
    assert [(row["group"], row["member"]) for path in files for row in map(json.loads, path.read_text().splitlines())] == kept
