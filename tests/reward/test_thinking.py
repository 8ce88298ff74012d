"""Checkers see what follows the last finished thought, whatever the model's marks; an unfinished thought has no answer."""

import asyncio
import json
import time
from typing import Any

import pytest

from configs.schema import Config
from reward.asked import Asked
from reward.scorer import Scorer
from reward.thinking import answer_of, ends_within
from rollout.types import Verdict

pytestmark = pytest.mark.timeout(60)

THINK = ("<think>", "</think>")
MISTRAL = ("[THINK]", "[/THINK]")
HARMONY = ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>")
PROSE = "<think>\nWell, first, the user wants no commas, so I plan, draft, and check.\n</think>\n\n"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("42", "42"),
        ("", ""),
        ("\n 42 \n", "\n 42 \n"),
        ("<think>41</think>42", "42"),
        ("<think>41</think> 42\n", "42\n"),
        ("<think>\n41\n</think>\n\n42", "42"),
        ("<think>\n\n</think>\r\n\r\n42", "42"),
        ("<think>41</think>\n\n    return 42", "    return 42"),
        ("41</think>42", "42"),
        ("41 <think> 42", None),
        ("<think>", None),
        ("<think>41", None),
        ("\n\n<think>41", None),
        ("<think>41</think>", ""),
        ("<think>40</think>41<think>x</think>42", "42"),
        ("<think>40</think>41<think>x", None),
        ("The answer is 42.<think>41?</think>", ""),
        ("<think>40<think>41</think>42", "42"),
        ("<think>40<think>41</think>x</think>42", "42"),
        ("40</think>41</think>42", "42"),
        ("<Think>41</THINK>42", "42"),
        ("<think>41</thinking>42", None),
        ("<thinking>41", "<thinking>41"),
        ("<think>```\n</think>42", "42"),
        ("<think>\n```python\nx = 41\n```\n</think>\n```\nx = 42\n```", "```\nx = 42\n```"),
        ("<think>a</think>Write `<think>` first.", "Write `<think>` first."),
        ("<think>a</think>\n```html\n<think>\n```", "```html\n<think>\n```"),
        ("<think>a</think>```html\n<think>\n```\n42", "```html\n<think>\n```\n42"),
        ("<think>a</think>\n~~~\n</think>\n~~~\n42", "~~~\n</think>\n~~~\n42"),
        ("<think>a</think>\n```\n<think>\n``` <think>b", "```\n<think>\n``` <think>b"),  # a fence that ends nowhere
        ("<think>a</think>one ` tick <think> b", None),
    ],
)
def test_the_answer_follows_the_last_finished_thought(response: str, answer: str | None) -> None:
    assert answer_of(response, THINK) == answer


@pytest.mark.parametrize(
    ("response", "answer"),
    [("41</think>42", "42"), ("41", None), ("", None), ("so <think> 41</think>42", "42"), ("`</think>`", "`"), ("41</think>", "")],
)
def test_a_prompt_may_have_opened_the_thought(response: str, answer: str | None) -> None:
    assert answer_of(response, THINK, opened=True) == answer


@pytest.mark.parametrize(
    ("marks", "response", "answer"),
    [
        (MISTRAL, "[THINK]41[/THINK]42", "42"),
        (MISTRAL, "[THINK]41", None),
        (MISTRAL, "<think>41", "<think>41"),
        (("<thought>", "</thought>"), "<thought>\n41</thought>\n42", "42"),
        (HARMONY, "<|channel|>analysis<|message|>41<|end|><|start|>assistant<|channel|>final<|message|>42", "42"),
        (HARMONY, "<|channel|>analysis<|message|>41<|end|>", None),
        (HARMONY, "<|channel|>final<|message|>42", "42"),
        (("Here is my thought process:", "Here is my response:"), "Here is my thought process: 41 Here is my response: 42", "42"),
    ],
)
def test_marks_are_the_models_own(marks: tuple[str, str], response: str, answer: str | None) -> None:
    assert answer_of(response, marks) == answer


@pytest.mark.parametrize(
    ("prompt", "prefill", "within"),
    [
        ("<|Assistant|><think>\n", "", True),
        ("<|Assistant|>", "<think>\n", True),
        ("<|Assistant|>", "<think>\nOkay, so", True),
        ("<|Assistant|><think>\n", "Okay, so", True),
        ("<|Assistant|><think>\n", "No need.</think>\n", False),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "", False),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", "The answer is", False),
        ("Write <think> first.<|Assistant|>", "", False),
        ("", "", False),
    ],
)
def test_whether_a_prompt_ends_within_a_thought(prompt: str, prefill: str, within: bool) -> None:
    assert ends_within(prompt + prefill, prefill, THINK) is within


def test_time_grows_with_length_alone() -> None:
    began = time.perf_counter()
    for piece in ("<think></think>", "`", "` ", "```\n", "~~~\n", "```<think>\n", "</think>`", "\n \n"):
        answer_of("<think></think>" + piece * (200_000 // len(piece)), THINK)
    assert time.perf_counter() - began < 5


def score(asked: list[Asked], **reward: Any) -> list[Verdict]:
    tables = {"workers": 1, "checker": "exact", **reward}
    config = Config.model_validate({"model": {"path": "m"}, "data": {"train": "t", "prefill": "unused"}, "reward": tables})

    async def main() -> list[Verdict]:
        async with Scorer(config) as scorer:
            return await scorer.score(asked)

    return asyncio.run(main())


def ask(checker: str, response: str, reference: Any, prompt: str = "", prefill: str = "") -> Asked:
    return Asked(checker=checker, response=response, reference=reference, tokens=3, prompt=prompt + prefill, prefill=prefill)


NO_COMMA = [{"id": "punctuation:no_comma"}]
INC = {"asserts": ["assert inc(1) == 2"]}
LAYOUT = ["think", "answer"]
CASES: list[tuple[Asked, float, bool]] = [  # the reward, and whether the thought is unfinished
    (ask("instructions", PROSE + "A short answer without any.", NO_COMMA), 1.0, False),
    (ask("instructions", "<think> no mark of that kind", NO_COMMA), 0.0, True),
    (ask("instructions", PROSE, NO_COMMA), 0.0, False),
    (ask("instructions", PROSE + "all in small letters here my friend.", [{"id": "change_case:english_lowercase"}]), 1.0, False),
    (ask("code", "<think>\n```\ndef inc(x):\n    return x\n```\nno\n</think>\n```\ndef inc(x):\n    return x + 1\n```", INC), 1.0, False),
    (ask("code", "<think>\n```\ndef inc(x):\n    return x + 1\n```\nhm, is that it", INC), 0.0, True),
    (ask("length", PROSE + "One two three.", {"max": 5}), 1.0, False),
    (ask("length", "<think>One", {"max": 5}), 0.0, True),
    (ask("exact", PROSE + "42", "42"), 1.0, False),
    (ask("exact", "draft 7</think>42", "42"), 1.0, False),
    (ask("json", PROSE + '{"a": 1}', {"schema": {"required": ["a"]}}), 1.0, False),
    (ask("language", "<think>Let me write this one in English, as I think.</think>Das ist ein Satz auf Deutsch.", "de"), 1.0, False),
    (ask("regex", "<think>no</think> yes", "^yes$"), 1.0, False),
    (ask("math", "<think>\\boxed{42}", "42"), 0.0, True),
    (ask("math", "<think>\\boxed{41}</think>\\boxed{42}", "42"), 1.0, False),
    (ask("choice", "<think>\nso maybe the answer is B? let me", "B"), 0.0, True),
    (ask("match", "<think>Paris", "Paris"), 0.0, True),
    (ask("math", "so \\boxed{42}", "42", prompt="<|Assistant|><think>\n"), 0.0, True),
    (ask("math", "so 41</think>\\boxed{42}", "42", prompt="<|Assistant|>", prefill="<think>\n"), 1.0, False),
    (ask("math", "42}", "42", prefill="The answer is \\boxed{"), 1.0, False),
    (ask("tags", "<think>a</think><answer>b</answer>", LAYOUT), 1.0, False),
    (ask("tags", "<think>a</think><answer>b</answer>", ["answer"]), 1.0, False),
    (ask("tags", "<think>a</think><answer>b</answer>", json.dumps({"tags": LAYOUT, "partial": None})), 1.0, False),
    (ask("tags", "<think>a</think><answer>b</answer>", json.dumps(LAYOUT)), 1.0, False),
    (ask("tags", "a</think><answer>b</answer>", {"tags": LAYOUT, "opened": ["think"]}, prompt="<think>\n"), 1.0, False),
    (ask("tags", "a</think><answer>b</answer>", LAYOUT, prefill="<think>"), 1.0, False),
    (ask("tests.toys.own_exact:score", PROSE + "42", "42"), 1.0, False),
    (ask("tests.toys.own_exact:score", "<think>42", "<think>42"), 0.0, True),
]  # fmt: skip


def test_every_checker_sees_the_answer_alone_and_an_unfinished_thought_scores_0() -> None:
    verdicts = score([asked for asked, _, _ in CASES])
    found = [(verdict.reward, verdict.unfinished, verdict.failure) for verdict in verdicts]
    assert found == [(reward, unfinished, None) for _, reward, unfinished in CASES]


def test_a_part_may_see_the_whole_response_and_services_are_not_asked_about_unfinished_thoughts() -> None:
    whole = {"checker": "length", "see": "all", "weight": 0.5, "reference": {"min": 3, "unit": "words"}}
    asked = [ask("exact", "<think>one two three</think>4", "4"), ask("http", "<think>one two three", "4")]
    verdicts = score(asked, parts={"whole": whole})
    assert [(verdict.reward, verdict.parts, verdict.unfinished) for verdict in verdicts] == [
        (1.5, {"correct": 1.0, "whole": 1.0}, False),
        (0.5, {"correct": 0.0, "whole": 1.0}, True),
    ]


def test_thoughts_may_be_kept_and_the_prefill_hidden() -> None:
    part = {"checker": "exact", "see": "answer", "weight": 2.0}
    asked = [ask("exact", "<think>4", "<think>4"), ask("exact", "<think>x</think>4", "4"), ask("exact", "4", "4", prefill="It is ")]
    verdicts = score(asked, thinking="keep", see_prefill=False, parts={"answer": part})
    assert [(verdict.reward, verdict.unfinished) for verdict in verdicts] == [(1.0, True), (2.0, False), (3.0, False)]
