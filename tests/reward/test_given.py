"""A reference means the same from JSON Lines, Parquet and CSV: nulls that fill columns are left out, JSON text is read."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from reward.checkers import check_reference, get_checker
from reward.form.schema_nulls import schema_without_nulls
from rollout.data.read import read_rows

# checker, reference, a response that is right and one that is wrong
KINDS: list[tuple[str, Any, str, str]] = [
    ("length", {"min": 2}, "one two three", "one"),
    ("length", {"max": 2, "unit": "words"}, "one", "one two three"),
    ("choice", {"answer": "B", "options": {"A": "Rome", "B": "Paris"}}, "Paris", "Rome"),
    ("choice", {"answer": "B", "options": ["Rome", "Paris"]}, "Paris", "Rome"),
    ("choice", {"answer": "B"}, r"\boxed{B}", r"\boxed{C}"),
    ("tags", ["think", "answer"], "<think>a</think><answer>b</answer>", "b"),
    ("tags", {"tags": ["answer"], "outside": True}, "so <answer>b</answer>", "b"),
    ("json", {"type": "object", "required": ["a"]}, '{"a": 1}', "{}"),
    ("json", {"schema": {"type": "integer"}, "partial": False}, "3", '"x"'),
    ("regex", {"pattern": "^[0-9]+$"}, "42", "x"),
    ("regex", {"pattern": "PARIS", "flags": "i"}, "Paris", "Rome"),
    ("language", {"language": "en", "share": 0.5}, "This is a sentence in plain English.", "Dies ist ein ganzer Satz auf Deutsch."),
    ("instructions", [{"id": "punctuation:no_comma"}], "none here", "one, here"),
    ("instructions", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}, "none here", "one, here"),
    (
        "instructions",
        {"instruction_id_list": ["length_constraints:number_words"], "kwargs": [{"num_words": 3, "relation": "less than"}]},
        "one two",
        "one two three",
    ),
    ("match", ["Paris", "City of Paris"], "city of paris", "Rome"),
    ("code", {"inputs": ["1\n"], "outputs": ["2\n"]}, "print(int(input()) + 1)", "print(0)"),
    ("code", {"asserts": ["assert inc(1) == 2"]}, "def inc(x): return x + 1", "def inc(x): return x"),
    ("code", {"fn_name": "inc", "inputs": [[1]], "outputs": [2]}, "def inc(x): return x + 1", "def inc(x): return x"),
]
FILLER = {
    "length": ("min", "max", "unit", "soft"),
    "choice": ("options",),
    "tags": ("outside", "partial", "opened"),
    "json": ("partial", "properties", "const", "minimum"),
    "regex": ("flags", "where", "absent"),
    "language": ("share", "ignore_code", "ignore_math"),
    "instructions": ("strict", "loose"),
    "code": ("inputs", "outputs", "fn_name", "tolerance", "asserts", "test_list", "setup", "test", "entry_point", "solution"),
}


def filled(checker: str, reference: Any) -> Any:
    """The reference as columns give it: every key that the checker knows is there."""
    if not isinstance(reference, dict):
        return [{**one, "num_words": None} if isinstance(one, dict) else one for one in reference]
    whole: dict[str, Any] = {**dict.fromkeys(FILLER[checker]), **reference}
    if isinstance(whole.get("options"), dict):
        whole["options"] = whole["options"] | {"C": None}
    if "kwargs" in whole:
        whole["kwargs"] = [{**dict.fromkeys(("num_words", "relation", "keywords")), **one} for one in whole["kwargs"]]
    if "schema" in whole:
        whole = {"schema": whole["schema"] | {"properties": None, "const": None}, "partial": None}
    return whole


@pytest.mark.parametrize(("checker", "reference", "right", "wrong"), KINDS)
def test_nulls_and_json_text_change_no_verdict(checker: str, reference: Any, right: str, wrong: str) -> None:
    score = get_checker(checker).score
    for form in (reference, filled(checker, reference), json.dumps(reference), json.dumps(filled(checker, reference))):
        check_reference(checker, form)
        get_checker(checker).gold(form)
        if checker != "code":  # whose programs run in a sandbox, which takes a while to start
            assert (score(right, form), score(wrong, form)) == (1.0, 0.0)


@pytest.mark.parametrize(("checker", "reference", "right", "wrong"), [kind for kind in KINDS if kind[0] != "code"])
def test_a_row_means_the_same_in_every_form_of_file(tmp_path: Path, checker: str, reference: Any, right: str, wrong: str) -> None:
    rows = [
        {"prompt": "?", "answer": reference},
        {"prompt": "!", "answer": filled(checker, reference) if checker != "match" else reference},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerows([["prompt", "answer"], *([row["prompt"], json.dumps(row["answer"])] for row in rows)])
    for name in ("rows.jsonl", "rows.parquet", "rows.csv"):
        for row in read_rows(str(tmp_path / name), "train", ["prompt", "answer"]):
            check_reference(checker, row.values["answer"])
            assert [get_checker(checker).score(text, row.values["answer"]) for text in (right, wrong)] == [1.0, 0.0], name


@pytest.mark.parametrize(
    ("checker", "text", "right"),
    [
        ("regex", '{"a": 1}', '{"a": 1}'),
        ("regex", "[0-9]", "7"),
        ("regex", "[7]", "7"),
        ("language", "en", "This is a sentence in plain English."),
        ("choice", "[B]", r"\boxed{B}"),
        ("match", "[1, 2]", "[1, 2]"),
        ("match", '{"a": 1}', '{"a": 1}'),
        ("exact", '["a"]', '["a"]'),
    ],
)
def test_a_text_that_only_looks_like_json_stays_the_text(checker: str, text: str, right: str) -> None:
    check_reference(checker, text)
    assert get_checker(checker).score(right, text) == 1.0


@pytest.mark.parametrize("checker", ["length", "tags", "instructions", "json", "code"])
def test_what_python_prints_of_an_object_is_refused_with_the_remedy(checker: str) -> None:
    with pytest.raises(ValueError, match=r"str\(\) of a Python object is no JSON: write it with json\.dumps"):
        check_reference(checker, "{'min': 5}")


@pytest.mark.parametrize(
    ("schema", "means"),
    [
        ({"const": None}, {"const": None}),
        ({"enum": [None, 1]}, {"enum": [None, 1]}),
        ({"type": ["integer", "null"], "const": None}, {"type": ["integer", "null"], "const": None}),
        ({"type": "null", "const": None}, {"type": "null", "const": None}),
        ({"type": "integer", "const": None}, {"type": "integer"}),
        ({"enum": [1, 2], "const": None}, {"enum": [1, 2]}),
        ({"minimum": 1, "const": None, "maximum": None}, {"minimum": 1}),
        ({"const": None, "maximum": None}, {"const": None}),
        ({"const": {"a": None}}, {"const": {"a": None}}),
        ({"examples": [None], "default": {"a": None}}, {"examples": [None], "default": {"a": None}}),
        ({"properties": {"a": {"type": "integer", "enum": None}, "b": None}}, {"properties": {"a": {"type": "integer"}}}),
        ({"properties": {"const": None, "enum": {"type": None}}}, {"properties": {"enum": {}}}),
        ({"anyOf": [{"const": None}, {"type": "string"}]}, {"anyOf": [{"const": None}, {"type": "string"}]}),
        (
            {"items": {"$ref": "#/$defs/x", "type": None}, "$defs": {"x": {"minimum": None}}},
            {"items": {"$ref": "#/$defs/x"}, "$defs": {"x": {}}},
        ),
    ],
)
def test_a_null_in_a_schema_stays_where_it_says_something(schema: Any, means: Any) -> None:
    assert schema_without_nulls(schema) == means


def test_null_arguments_and_results_of_programs_stay_data() -> None:
    score, none = get_checker("code").score, {"fn_name": "f", "inputs": [[None, {"a": None}]], "outputs": [None], "tolerance": None}
    assert score("def f(x, y): return x if 'a' in y else 1", none) == 1.0
    assert score("def f(x, y): return 1", none) == 0.0
