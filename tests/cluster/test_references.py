"""A reference that its checker cannot use is refused with its row, and beside one of another kind that it can."""

import json
from pathlib import Path
from typing import Any

import pytest

from cluster.commands.checks.rewards import check_references
from configs.schema import Config
from rollout.prompts.prompts import load_training_prompts
from tests.rollout.test_prompts import character_tokenizer


def refer(folder: Path, checker: str, *references: Any) -> None:
    """Check rows with these references; one may be a pair of a reference and the row's own checker."""
    rows = [dict(zip(("answer", "by"), one if isinstance(one, tuple) else (one,), strict=False)) for one in references]
    (folder / "rows.jsonl").write_text("".join(json.dumps({"prompt": "?", **row}) + "\n" for row in rows))
    data = {"train": str(folder / "rows.jsonl"), "chat_template": False, "checker_field": "by"}
    config = Config.model_validate({"model": {"path": "none"}, "data": data, "reward": {"checker": checker}})
    check_references(config, load_training_prompts(config, character_tokenizer()))


@pytest.mark.parametrize(
    ("checker", "references"),
    [
        ("math", ["42", 42, 4.5]),
        ("match", ["Paris", ["Paris", "Rome"], 7, '["Paris", "Rome"]']),
        ("choice", ["B", {"answer": "B", "options": ["x", "y"]}, '{"answer": "A"}', "(C)"]),
        ("length", [{"min": 5}, '{"max": 7}', {"min": 1, "max": None}]),
        ("tags", [["think"], {"tags": ["think"]}, '["think"]']),
        ("json", [{"type": "object"}, '{"type": "object"}', {"schema": {}, "partial": True}]),
        ("regex", ["a+", {"pattern": "a+"}]),
        ("language", ["en", {"language": "de"}]),
        ("code", [["assert f(1) == 2"], {"inputs": ["1"], "outputs": ["2"]}, '["assert f(1) == 2"]']),
        ("math", ["42", ({"min": 5}, "length"), (["think"], "tags")]),
    ],
)
def test_references_of_several_kinds_work_where_each_is_clear(tmp_path: Path, checker: str, references: list[Any]) -> None:
    refer(tmp_path, checker, *references)


@pytest.mark.parametrize(
    ("checker", "references", "said"),
    [
        (
            "choice",
            ["B", "C", 2, 1],
            r"line 3: .*got 2\..* two kinds: this one, as 2 rows of 4, is a number; .*line 1 has 'B', a text that",
        ),
        ("math", ["42", {"a": 1}], r"line 2: .*is an object; .*line 1 has '42', a text that 'math' takes"),
        ("length", [5, {"min": 5}], r"line 1: .*is a number; .*line 2 has \{'min': 5\}, an object that 'length' takes"),
        ("exact", ["yes", True], r"line 2: .*is a true or false value; .*line 1 has 'yes', a text"),
        (
            "math",
            ["7", ["7", "8"]],
            r"line 2: .*as 1 row of 2, is a list; .* or name each row's checker in the field of data\.checker_field",
        ),
    ],
)
def test_a_reference_of_another_kind_is_refused_beside_one_that_works(
    tmp_path: Path, checker: str, references: list[Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        refer(tmp_path, checker, *references)


@pytest.mark.parametrize(
    ("checker", "references"), [("choice", ["B", "Paris"]), ("math", [["7"], ["8"]]), ("length", [{"min": 5}, {"mni": 5}])]
)
def test_references_of_one_kind_are_refused_by_their_row_alone(tmp_path: Path, checker: str, references: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"rows\.jsonl line \d: checker") as caught:
        refer(tmp_path, checker, *references)
    assert "two kinds" not in str(caught.value)
