"""Arguments against a schema: what is wrong is said, and bare texts get the types of the schema."""

from typing import Any

import pytest

from reward.tools.arguments import problems_of, typed

SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "x": {"type": "number"},
        "s": {"type": "string"},
        "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "integer"}},
        "d": {"type": "object", "additionalProperties": {"type": "string"}},
        "e": {"type": "string", "enum": ["tea", "coffee"]},
        "o": {"type": "integer", "nullable": True},
        "u": {"type": ["integer", "string"]},
        "a": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "string"}}], "nullable": True},
        "t": {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]},
        "any": {},
    },
    "required": ["n"],
}
FINE: list[dict[str, Any]] = [
    {"x": 1},
    {"x": 1.5},
    {"s": ""},
    {"b": True},
    {"l": []},
    {"l": [1, 2]},
    {"d": {"k": "v"}},
    {"e": "tea"},
    {"o": None},
    {"u": "x"},
    {"a": ["x"]},
    {"a": None},
    {"t": [1, "x"]},
    {"any": {"x": [None]}},
]
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n": "5"}, "'n' must be a whole number, got \"5\""),
    ({"n": 5.0}, "got 5.0"),
    ({"n": True}, "got true"),
    ({"n": None}, "got null"),
    ({"x": "1"}, "must be a number"),
    ({"x": False}, "must be a number"),
    ({"s": 3}, "must be a text"),
    ({"b": 1}, "must be true or false"),
    ({"b": "true"}, "must be true or false"),
    ({"l": "1,2"}, "must be a list"),
    ({"l": [1, "2"]}, "'l' at entry 1 must be a whole number"),
    ({"d": [1]}, "must be an object"),
    ({"d": {"k": 1}}, "'d' at 'k' must be a text"),
    ({"e": "milk"}, 'must be one of "tea", "coffee"'),
    ({"u": 1.5}, "must be a whole number or a text"),
    ({"a": "x"}, "must be a whole number or a list"),
    ({"t": [1]}, "must have 2 entries"),
    ({"t": [1, 2]}, "at entry 1 must be a text"),
    ({"N": 1}, "no argument 'N'"),
    ({"nn": 1}, "did you mean 'n'?"),
]


@pytest.mark.parametrize("arguments", FINE)
def test_arguments_that_fit(arguments: dict[str, Any]) -> None:
    assert problems_of({"n": 1} | arguments, SCHEMA) == ""


@pytest.mark.parametrize(("arguments", "why"), WRONG)
def test_arguments_that_do_not_fit_are_explained(arguments: dict[str, Any], why: str) -> None:
    assert why in problems_of({"n": 1} | arguments, SCHEMA)


def test_a_missing_argument_is_named() -> None:
    assert problems_of({}, SCHEMA) == "the argument 'n' is missing"


def test_a_server_decides_itself_about_arguments_that_its_schema_does_not_name() -> None:
    assert problems_of({"n": 1, "more": 2}, SCHEMA, strict=False) == ""
    assert "no argument 'more'" in problems_of({"n": 1, "more": 2}, SCHEMA | {"additionalProperties": False}, strict=False)


def test_bare_texts_get_the_types_of_the_schema() -> None:
    texts = {"n": " 5 ", "x": "1e3", "s": "5", "b": "True", "l": "[1, 2]", "d": '{"k": "v"}', "o": "null", "u": "7", "a": '["x"]'}
    assert typed(texts, SCHEMA) == {
        "n": 5, "x": 1000.0, "s": "5", "b": True, "l": [1, 2], "d": {"k": "v"}, "o": None, "u": "7", "a": ["x"],
    }  # fmt: skip
    assert typed({"n": "five", "unknown": "1"}, SCHEMA) == {"n": "five", "unknown": "1"}
