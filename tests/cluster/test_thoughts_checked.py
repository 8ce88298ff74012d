"""Right answers and references with thoughts: checked as a run sees them, and refused where a thought never ends."""

import asyncio
from typing import Any

import numpy as np
import pytest

from cluster.commands.checks.one_row import continued, right_answer, score, score_first_row
from cluster.commands.checks.rewards import asked_of, refuse_unfinished_reference
from cluster.commands.rewards.gold_check import Fields, gold_item
from configs.schema import Config
from reward.workers.pool import Item
from rollout.data.row import Row
from rollout.prompts.prompts import PromptSet
from rollout.types import Prompt

FIELDS = Fields(checker="math", reference="answer", named_checker=None, solution="solution")


def config(**reward: Any) -> Config:
    tables = {"workers": 1, "memory_mb": 1024, **reward}
    return Config.model_validate({"model": {"path": "m"}, "data": {"train": "t", "prefill": "x"}, "reward": tables})


def prompt(text: str = "", prefill: str = "", checker: str = "math", reference: Any = "4") -> Prompt:
    ids = np.array([1], np.int32)
    return Prompt(prompt_id="0", token_ids=ids, reference=reference, checker=checker, text=text + prefill, prefill=prefill)


def test_a_right_answer_is_checked_without_its_thought_and_listed_where_that_never_ends() -> None:
    found = [
        gold_item(Row("row", {"answer": "4", "solution": text}), FIELDS) for text in ("<think>3</think>\\boxed{4}", "<think>\\boxed{4}")
    ]
    assert isinstance(found[0], Item)
    assert found[0].response == "\\boxed{4}"
    assert "opens a thought (<think>) and never ends it" in str(found[1])


def test_a_right_answer_of_tags_keeps_the_thought_that_it_is_about() -> None:
    fields = Fields(checker="tags", reference="answer", named_checker=None, solution=None)
    found = gold_item(Row("row", {"answer": ["think", "answer"]}), fields)
    assert isinstance(found, Item)
    assert found.response.startswith("<think>")


REWARDS = [
    (prompt("2+2=<think>\n"), 1.0),
    (prompt("2+2=", "<think>\n"), 1.0),
    (prompt("2+2=", "The answer is ", "exact"), 0.0),  # in the run too: it compares the prefill as well
    (prompt("2+2=", "", "exact"), 1.0),
]


def test_the_row_that_validate_scores_ends_the_thought_of_its_prompt() -> None:
    asked = [asked_of(row, continued(config(), row, right_answer(row) or "")) for row, _ in REWARDS]
    assert [verdict.reward for verdict in asyncio.run(score(config(), asked))] == [reward for _, reward in REWARDS]


def test_the_line_of_a_scored_row_shows_its_prefill_and_warns_where_a_right_answer_fails() -> None:
    row = prompt("2+2=", "The answer is ", "exact")
    found = score_first_row(config(), PromptSet(prompts=[row], dropped=0, where={"0": "rows line 1"}))
    assert "rows line 1, exact: after the prefill 'The answer is '" in found.line
    assert "→ reward 0 " in found.line
    assert found.warning is not None


def test_a_reference_that_ends_within_a_thought_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match="rows line 1: its reference opens a thought"):
        refuse_unfinished_reference(config(), "rows line 1", prompt(checker="exact", reference="<think>4"))
    for reward, reference in (({"thinking": "keep"}, "<think>4"), ({}, "<think>3</think>4"), ({}, ["think"]), ({}, "4")):
        refuse_unfinished_reference(config(**reward), "rows line 1", prompt(checker="exact", reference=reference))
