"""Which JSON obeys a schema, where it is found in a response, and what part of it is worth, case by case."""

import json
import socket

import pytest

from reward.checkers import check_reference, get_checker

checker = get_checker("json")
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"type": "string"}}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TREE = {"$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}}, "$ref": "#/$defs/node"}
GOOD = '{"a": 1, "b": ["x"]}'


@pytest.mark.parametrize(
    ("response", "schema"),
    [
        (GOOD, SCHEMA),
        (GOOD, json.dumps(SCHEMA)),
        (GOOD, {"schema": SCHEMA, "partial": True}),
        (GOOD, {"schema": json.dumps(SCHEMA)}),
        (f"\n {GOOD}\n", SCHEMA),
        (f"\ufeff{GOOD}", SCHEMA),
        (f"```json\n{GOOD}\n```", SCHEMA),
        (f"```JSON\r\n{GOOD}\r\n```\r\n", SCHEMA),
        (f"```json\n{GOOD}", SCHEMA),  # the fence is not closed
        (f"Wrong:\n```json\n{{}}\n```\nRight:\n```json\n{GOOD}\n```\nDone.", SCHEMA),
        (f"```json\n{GOOD}\n```\n```python\nx = {{}}\n```", SCHEMA),
        (f"Here it is: {GOOD} as you {{asked}} [see above].", SCHEMA),
        (f'It\'s a "good" one: {GOOD}.', SCHEMA),
        (f"[1] {GOOD}", SCHEMA),
        (f"```\n{GOOD}\n```", SCHEMA),
        ('{"a": 1.0, "b": []}', SCHEMA),
        ('{"a": 12345678901234567890123, "b": []}', SCHEMA),
        ('{"a": -0, "b": ["}]{[\\"", "```", "\\ud800"]}', SCHEMA),
        ("42", {"type": "number"}),
        ('"text"', {"type": "string"}),
        ("null", {"type": "null"}),
        ("1e308", {"multipleOf": 0.5}),
        ("9" * 308, {"multipleOf": 0.5}),
        ('{"next": {"next": {}}}', TREE),
        ('{"next": ' * 50 + "{}" + "}" * 50, TREE),
        ("{}", {}),
        ('["a", 1]', {"prefixItems": [{"type": "string"}, {"type": "integer"}]}),
        ('["a", 1]', {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}, {"type": "integer"}]}),
        ("5", {"$id": "https://example.com/a", "$ref": "b", "$defs": {"b": {"$id": "b", "type": "integer"}}}),
    ],
)
def test_json_that_obeys_its_schema_is_right_wherever_it_stands(response: str, schema: object) -> None:
    check_reference("json", schema)
    assert checker.score(response, schema) == 1.0


@pytest.mark.parametrize(
    ("response", "schema"),
    [
        ("", SCHEMA),
        ("no json at all", SCHEMA),
        ("{", SCHEMA),
        ('{"a": 1, "b": ["x"]', SCHEMA),  # truncated
        ('{"a": 1, "b": ["x"],}', SCHEMA),
        ('{"a": 1, "b": ["x",]}', SCHEMA),
        ('{"a": 1, /* note */ "b": ["x"]}', SCHEMA),
        ('{"a": 1, "b": ["x"]} // note', {"type": "integer"}),
        ("{'a': 1, 'b': ['x']}", SCHEMA),
        ('{a: 1, "b": ["x"]}', SCHEMA),
        ('{"a": 1, "a": 1, "b": []}', SCHEMA),
        ('{"a": 1, "b": [], "b": []}', {}),
        ("NaN", {}),
        ("[Infinity]", {}),
        ("-Infinity", {}),
        ("1e400", {"type": "number"}),
        ("-1e400", {}),
        ("9" * 310, {"type": "integer"}),
        ("9" * 5000, {}),
        ("[" * 100_000, {}),
        ("[" * 100_000 + "]" * 100_000, {}),
        ('{"next": ' * 100_000, TREE),
        ('{"a":[' * 50_000 + "]}" * 50_000, {}),
        ("01", {"type": "integer"}),
        ("\u0664\u0662", {"type": "integer"}),
        ('"a\nb"', {"type": "string"}),
        ('{"a": 1}', SCHEMA),
        ('{"a": "1", "b": []}', SCHEMA),
        ('{"a": true, "b": []}', SCHEMA),
        ('{"a": 1.5, "b": []}', SCHEMA),
        ('{"a": 1, "b": [], "c": 0}', SCHEMA),
        (f"[{GOOD}]", SCHEMA),
        (f"{GOOD}{GOOD}", {"type": "array"}),
        (f"{GOOD}\n```json\nnothing\n```", SCHEMA),  # the block is what was given as the answer
        ("\x00", {}),
        ("\ud800", {}),
        ("true", {"not": {}}),
    ],
)
def test_json_that_disobeys_and_text_that_is_none_are_wrong(response: str, schema: object) -> None:
    assert checker.score(response, schema) == 0.0


NESTED = {"type": "object", "required": ["p"], "properties": {"p": SCHEMA}}
ALL_OF = {"allOf": [{"$ref": "#/$defs/s"}, {"required": ["c"]}], "$defs": {"s": {"required": ["a"], "properties": {"a": {"type": "null"}}}}}


@pytest.mark.parametrize(
    ("response", "schema", "share"),
    [
        ('{"a": 1}', SCHEMA, 1 / 2),
        ('{"a": "x", "b": ["y"]}', SCHEMA, 1 / 2),
        ('{"a": 1, "b": ["x", 1]}', SCHEMA, 3 / 4),
        ('{"a": 1, "b": 5}', SCHEMA, 1 / 2),
        ('{"a": 1, "b": [], "c": 2}', SCHEMA, 2 / 3),
        ('{"c": 2}', SCHEMA, 0.0),
        ("{}", SCHEMA, 0.0),
        ("[]", SCHEMA, 0.0),
        ("42", SCHEMA, 0.0),
        ('{"p": {"a": 1}}', NESTED, 1 / 2),
        ('{"a": null}', ALL_OF, 1 / 2),
        ('{"a": null, ' + ", ".join(f'"x{i}": 0' for i in range(99)) + "}", ALL_OF, 1 / 2),  # more of what nobody asked for
        ("[1, 1]", {"items": {"type": "integer"}, "uniqueItems": True}, 2 / 3),
        ("[1, 2, 3]", {"items": {"type": "integer"}, "maxItems": 2}, 3 / 4),
        ('{"a": 1, "b": "x"}', {"required": ["a"], "additionalProperties": {"type": "integer"}}, 1 / 2),
        ('{"a": 1}', {"anyOf": [{"required": ["b"]}, {"required": ["c"]}], "properties": {"a": {"type": "integer"}}}, 1 / 2),
    ],
)
def test_partial_credit_is_a_tenth_for_json_and_the_rest_for_what_obeys(response: str, schema: object, share: float) -> None:
    assert checker.score(response, {"schema": schema, "partial": True}) == pytest.approx(0.1 + 0.9 * share)


def test_partial_credit_is_none_without_json() -> None:
    for response in ("", "nothing", "{", "NaN", "[" * 100_000):
        assert checker.score(response, {"schema": SCHEMA, "partial": True}) == 0.0


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ({"type": "objekt"}, "no JSON Schema, at type: 'objekt'"),
        ({"required": "a"}, "no JSON Schema, at required"),
        ({"properties": {"a": {"minLength": -1}}}, "at properties/a/minLength"),
        ({"pattern": "("}, "at pattern: '\\(' is not a 'regex'"),
        ({"patternProperties": {"(": {}}}, "is not a 'regex'"),
        ("{", "got a text that is not JSON"),
        ("[]", "which is an object; got \\[\\]"),
        (True, "which is an object; got True"),
        (None, "which is an object; got None"),
        (["a"], "which is an object"),
        ({"schema": SCHEMA, "partial": 1}, "partial must be true or false"),
        ({"schema": SCHEMA, "parts": True}, "unknown key 'parts'"),
        ({"schema": 5}, "schema must be a table or a text"),
        ({"schema": None, "partial": None}, "the schema is null, so every JSON would be right"),
        ({"$schema": "https://example.com/mine"}, "no draft that is known"),
        ({"$schema": 5}, "no draft that is known"),
        ({"$ref": "#/$defs/none"}, "which it does not contain"),
        ({"items": {"$ref": "https://example.com/schema.json"}}, "addresses are never fetched, put it under"),
        ({"$ref": "#"}, "refers to itself without an end"),
        ({"properties": {"a": {"$ref": "#/properties/a"}}}, "refers to itself without an end"),
        ({"anyOf": [{"$ref": "#/$defs/x"}], "$defs": {"x": {"allOf": [{"$ref": "#"}]}}}, "refers to itself without an end"),
        ({"$dynamicAnchor": "x", "$dynamicRef": "#x"}, "refers to itself without an end"),
    ],
)
def test_a_reference_that_is_no_usable_schema_is_refused(reference: object, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        check_reference("json", reference)
    with pytest.raises(ValueError, match=reason):
        checker.score(GOOD, reference)


def test_an_address_is_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(ValueError, match="never fetched"):
        checker.score("{}", {"$ref": "http://127.0.0.1:9/schema.json"})
    assert checker.score("{}", {"$ref": "https://json-schema.org/draft/2020-12/schema"}) == 1.0


@pytest.mark.parametrize("reference", [{"const": [1]}, {"enum": ["a", "b"]}, {"type": "object", "examples": [{"a": 1}]}])
def test_the_gold_answer_of_a_schema_is_its_own_example(reference: object) -> None:
    assert checker.score(checker.gold(reference) or "", reference) == 1.0
    assert checker.gold(SCHEMA) is None
