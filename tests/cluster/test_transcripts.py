"""Transcripts in `responses/`: written, read back, and shown to people."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.record.metrics.metrics import Metrics
from cluster.record.metrics.transcripts import read_transcript, shown, transcript_lines, turns_as_json
from rollout.transcript.episode import Answer, Turn
from rollout.types import Outcome, Prompt, Verdict
from rollout.window.scored import Scored, Text
from tests.toys.run import run_config, toy_summary

CONTEXT = ({"role": "user", "content": "so far: 37"},)
TRANSCRIPT = (
    Turn(said="<37*48>", answer=Answer(words="1776", role="tool", tool_calls=1, tool_errors=1, cut=True, seconds=0.5)),
    Turn(said="50", answer=Answer(rewritten=CONTEXT)),
    Turn(said="", answer=Answer(words="")),
    Turn(said='1776\n"ü" \x00'),
)
WRITTEN = [
    {"said": "<37*48>", "answered": "1776", "role": "tool", "tool_calls": 1, "tool_errors": 1, "cut": True},
    {"said": "50", "answered": None, "rewritten": list(CONTEXT)},
    {"said": "", "answered": ""},
    {"said": '1776\n"ü" \x00', "answered": None},
]


def test_a_transcript_is_written_without_clocks_and_read_back_as_it_was() -> None:
    written = turns_as_json(TRANSCRIPT, Verdict(reward=1.0))
    assert written == WRITTEN
    back = read_transcript({"turns": json.loads(json.dumps(written))}, "line 1")
    assert turns_as_json(back, Verdict(reward=1.0)) == WRITTEN
    assert read_transcript({}, "line 1") == ()


def test_rewards_of_turns_stand_beside_what_was_said_also_where_the_episode_broke() -> None:
    verdict = Verdict(reward=0.75, turn_rewards=(0.25, 0.0, 0.0, 0.5))
    assert [turn["reward"] for turn in turns_as_json(TRANSCRIPT, verdict)] == [0.25, 0.0, 0.0, 0.5]
    assert turns_as_json(TRANSCRIPT, Verdict.failed(Outcome.CRASHED, "died")) == WRITTEN


@pytest.mark.parametrize(
    ("turns", "wrong"),
    [
        ("said", "no list of objects"),
        ([["said"]], "no list of objects"),
        ([{"answered": "1"}], "line 1, turn 1: needed texts"),
        ([{"said": "1"}, {"said": 2, "answered": None}], "line 1, turn 2: needed texts"),
        ([{"said": "1", "answered": 2}], "needed texts"),
        ([{"said": "1", "answered": None, "role": None}], "needed texts"),
        ([{"said": "1", "rewritten": {"role": "user"}}], "needed a list of messages"),
        ([{"said": "1", "tool_calls": True}], "needed whole numbers"),
        ([{"said": "1", "tool_errors": -1}], "needed whole numbers"),
    ],
)
def test_turns_that_no_run_wrote_are_refused_with_their_place(turns: Any, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        read_transcript({"turns": turns}, "line 1")


def test_a_person_reads_a_line_for_each_turn_and_each_answer() -> None:
    lines = transcript_lines("37*48=", turns_as_json(TRANSCRIPT, Verdict(reward=0.5, turn_rewards=(0.25, 0.0, 0.0, 0.25))), 40)
    assert lines == [
        "prompt  37*48=",
        "model   <37*48>  (reward 0.25)",
        "answer  1776",
        "model   50",
        "context so far: 37",
        "model   ",
        "answer  ",
        'model   1776\\n"ü" \\x00  (reward 0.25)',
    ]
    assert shown("a" * 50 + "b" * 50, 21) == "aaaaaaaaa … bbbbbbbb"


def test_responses_have_their_turns_and_those_of_one_turn_stay_as_they_were(tmp_path: Path) -> None:
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference=37, checker="own:guess", text="guess: ")
    texts = [Text(0, "1776", Verdict(reward=1.0), TRANSCRIPT), Text(1, "4", Verdict(reward=0.0))]
    group = Scored(summary=toy_summary(9, [1.0, 0.0]), texts=texts, tokens=None, engine=0, prompt=prompt)
    metrics = Metrics(run_config(tmp_path), 0)
    metrics.write_responses(2, [group], limit=2)
    several, single = [json.loads(line) for line in (tmp_path / "responses" / "step_000002.jsonl").read_text().splitlines()]
    assert (several["turns"], several["response"]) == (WRITTEN, "1776")
    assert several.keys() - single.keys() == {"turns"}
