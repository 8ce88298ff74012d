"""What holds for every checker of a text's form, whatever the text is."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.checkers import get_checker
from reward.workers.pool import Item, RewardPool
from rollout.types import Verdict
from tests.reward.test_instructions import TABLE
from tests.reward.test_json_schema import NESTED, SCHEMA

REFERENCES: list[tuple[str, object]] = [
    ("tags", ["think", "answer"]),
    ("tags", {"tags": ["think", "answer"], "partial": True, "opened": ["think"]}),
    ("regex", {"pattern": r"\w+\s", "where": "end"}),
    ("length", {"min": 3, "max": 5, "soft": 10}),
    *(("length", {"max": 2, "soft": 3.5, "unit": unit}) for unit in ("characters", "sentences", "lines", "paragraphs")),
    ("language", "en"),
    ("language", {"language": "zh", "share": 0.5, "ignore_code": False, "ignore_math": False}),
    ("json", SCHEMA),
    ("json", {"schema": NESTED, "partial": True}),
    ("instructions", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [None], "loose": True}),
    ("instructions", [reference for reference, _, _ in TABLE]),
]
# What these checkers look for, so that chance puts it together; and any character at all.
MARKS = [
    "<think>",
    "</think>",
    "<answer>",
    "</answer>",
    "{",
    "}",
    "[",
    "]",
    '"',
    "\\",
    "$",
    "$$",
    "\\[",
    "*",
    "***",
    "<<a>>",
    ",",
    "```json\n",
]
TALK = [
    "1e999",
    "-1",
    "NaN",
    '"p": ',
    "Dr.",
    ". ",
    "! ",
    "word ",
    "I am here ",
    "la mer est belle ",
    "答案是。",
    "हिन्दी",
    "\n",
    "\n\n",
    "\r\n",
]
PIECES = st.sampled_from(MARKS) | st.sampled_from(TALK)
ANYTHING = st.characters(codec=None, exclude_categories=()) | st.sampled_from(["\ud800", "\udfff", "\x00", "\ufeff", "\u200b", "\u2028"])
TEXTS = st.lists(PIECES | ANYTHING, max_size=30).map("".join)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_every_text_has_a_score_from_zero_to_one(text: str) -> None:
    for name, reference in REFERENCES:
        score = get_checker(name).score(text, reference)
        assert type(score) is float
        assert 0.0 <= score <= 1.0, (name, reference)


@pytest.mark.parametrize("text", ["(" * 10**5, '[<{`$*"' * 10**4, "\ud800\x00" * 10**4, "a. " * 10**4, "\n" * 10**5, "\\[" * 10**5])
def test_a_huge_text_has_a_score_too(text: str) -> None:
    assert all(0.0 <= get_checker(name).score(text, reference) <= 1.0 for name, reference in REFERENCES)


def test_reward_workers_run_these_checkers_within_half_a_gigabyte() -> None:
    items = [Item(checker=name, response="I am here. ", reference=reference) for name, reference in REFERENCES]

    async def main() -> list[Verdict]:
        async with RewardPool(workers=1, timeout_s=10.0, memory_mb=512) as pool:
            return await pool.score(items)

    expected = [get_checker(item.checker).score(item.response, item.reference) for item in items]
    assert [verdict.reward for verdict in asyncio.run(main())] == expected
