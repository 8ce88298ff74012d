"""What models write as calls, in every format, and what is none."""

# ruff: noqa: E501  (a case stands on one line)

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.tools.call import BadCall, Call, Found
from reward.tools.formats.shown import format_shown
from reward.tools.formats.table import FORMATS

MARKS = ("<think>", "</think>")
ADD = Call(name="add", arguments={"a": 1, "b": 2})
CODE = 'print("a\\n\'b\'")\nif {1: [2]}:\n\tx = "</tool_call>"  # ü 日本 \U0001f600'
JSON_ADD = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
LLAMA_ADD = '{"name": "add", "parameters": {"a": 1, "b": 2}}'
XML_ADD = "<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>"
GLM_ADD = "<tool_call>add\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n<arg_key>b</arg_key>\n<arg_value>2</arg_value>\n</tool_call>"
TEXT_ADD = Call(name="add", arguments={"a": "1", "b": "2"}, texts=True)


def tagged(*bodies: str) -> str:
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)


def found(form: str, text: str, opened: bool = False) -> list[Found]:
    return FORMATS[form].find(text, MARKS, opened)


READ: dict[str, list[tuple[str, list[Found]]]] = {
    "hermes": [
        ("4", []),
        (tagged(JSON_ADD), [ADD]),
        (f"I add them. {tagged(JSON_ADD)} Then I wait.", [ADD]),
        (tagged(JSON_ADD, JSON_ADD), [ADD, ADD]),
        (tagged(f"{JSON_ADD}").replace("\n", ""), [ADD]),
        (f"<tool_call>{JSON_ADD}", [ADD]),  # ended by its end token without the closing mark
        (f"<tool_call>\n{JSON_ADD}\n<tool_call>\n{JSON_ADD}", [ADD, ADD]),
        (tagged(f"```json\n{JSON_ADD}\n```"), [ADD]),
        (tagged(f"[{JSON_ADD}, {JSON_ADD}]"), [ADD, ADD]),
        (tagged(json.dumps({"name": "add", "arguments": json.dumps({"a": 1, "b": 2})})), [ADD]),
        (tagged(json.dumps({"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}})), [ADD]),
        (tagged(LLAMA_ADD), [ADD]),
        (tagged('{"name": "now", "arguments": {}}'), [Call(name="now")]),
        (tagged('{"name": "now"}'), [Call(name="now")]),
        (tagged('{"name": "now", "arguments": null}'), [Call(name="now")]),
        (tagged('{"name": "now", "arguments": ""}'), [Call(name="now")]),
        (tagged(json.dumps({"name": "python", "arguments": {"code": CODE}})), [Call(name="python", arguments={"code": CODE})]),
        (
            tagged(json.dumps({"name": "python", "arguments": {"code": CODE}}, ensure_ascii=False)),
            [Call(name="python", arguments={"code": CODE})],
        ),
        ('<tool_call>{"name": "python", "arguments": {"code": "a\n\tb"}}</tool_call>', [Call(name="python", arguments={"code": "a\n\tb"})]),
        (tagged('{"name": "f", "arguments": {"x": {"y": [{"z": "}"}]}}}'), [Call(name="f", arguments={"x": {"y": [{"z": "}"}]}})]),
        # Thoughts.
        (f"<think>{tagged(JSON_ADD)}</think>4", []),
        (f"<think>{tagged(JSON_ADD)}", []),
        (f"{tagged(JSON_ADD)}</think> 4", []),  # the mark that opened it is not part of the text
        (f"<THINK>hm</Think>{tagged(JSON_ADD)}", [ADD]),
        (f"<think>a</think>{tagged(JSON_ADD)}<think>{tagged(JSON_ADD)}</think>", [ADD]),
        (
            f"<think>a</think>{tagged(json.dumps({'name': 'say', 'arguments': {'it': '</think><think>'}}))}{tagged(JSON_ADD)}",
            [Call(name="say", arguments={"it": "</think><think>"}), ADD],
        ),
        ("A call stands in `<tool_call>` marks, a thought in `<think>`.", []),
        (f"A thought stands in `<think>`.{tagged(JSON_ADD)}", [ADD]),
    ],
    "json": [
        ("4", []),
        (LLAMA_ADD, [ADD]),
        (JSON_ADD, [ADD]),
        (f"<|python_tag|>{LLAMA_ADD}", [ADD]),
        (f"{LLAMA_ADD}; {LLAMA_ADD}", [ADD, ADD]),
        (f"{LLAMA_ADD}\n{LLAMA_ADD}", [ADD, ADD]),
        (f"[{LLAMA_ADD}, {LLAMA_ADD}]", [ADD, ADD]),
        (f"I add them:\n```json\n{LLAMA_ADD}\n```", [ADD]),
        (f"<think>{LLAMA_ADD}</think>\n{LLAMA_ADD}", [ADD]),
        (f"<think>\n{LLAMA_ADD}", []),
        ('{"answer": 4}', []),
        ('{"name": "Ada", "age": 36}', []),  # an answer in JSON
        ("the set {1, 2}\n{3}", []),
        ("<|python_tag|>print(1)", [Call(name="python", arguments={"code": "print(1)"})]),
        (json.dumps({"name": "f", "parameters": {"x": {"y": [{"z": "}\n{"}]}}}, indent=2), [Call(name="f", arguments={"x": {"y": [{"z": "}\n{"}]}})]),
    ],
    "xml": [
        ("4", []),
        (tagged(XML_ADD), [TEXT_ADD]),
        (f"Text.\n{tagged(XML_ADD, XML_ADD)}\nText.", [TEXT_ADD, TEXT_ADD]),
        (XML_ADD, [TEXT_ADD]),
        (f"<tool_call>\n{XML_ADD.removesuffix('</function>')}", [TEXT_ADD]),
        (tagged(XML_ADD.replace("</parameter>\n", "")), [TEXT_ADD]),
        (tagged("<function=now>\n</function>"), [Call(name="now", texts=True)]),
        (
            tagged(f"<function=python>\n<parameter=code>\n{CODE}\n</parameter>\n</function>"),
            [Call(name="python", arguments={"code": CODE}, texts=True)],
        ),
        (
            tagged("<function=say>\n<parameter=it>\n</parameter>\n</function>!\n\n</parameter>\n</function>"),
            [Call(name="say", arguments={"it": "</parameter>\n</function>!\n"}, texts=True)],
        ),
        (f"<think>{tagged(XML_ADD)}</think>", []),
        (f"<think>{XML_ADD}</think>{tagged(XML_ADD)}", [TEXT_ADD]),
    ],
    "glm": [
        ("4", []),
        (GLM_ADD, [TEXT_ADD]),
        (GLM_ADD.replace("\n", ""), [TEXT_ADD]),
        (f"<think></think>\nI add.\n{GLM_ADD}\n{GLM_ADD}", [TEXT_ADD, TEXT_ADD]),
        (GLM_ADD.removesuffix("\n</tool_call>"), [TEXT_ADD]),
        ("<tool_call>now</tool_call>", [Call(name="now", texts=True)]),
        (
            f"<tool_call>python\n<arg_key>code</arg_key>\n<arg_value>{CODE}</arg_value>\n</tool_call>",
            [Call(name="python", arguments={"code": CODE}, texts=True)],
        ),
        (f"<think>{GLM_ADD}</think>", []),
    ],
    "pythonic": [
        ("4", []),
        ("[add(a=1, b=2)]", [ADD]),
        ("[add(a=1, b=2), add(b=2, a=1)]", [ADD, ADD]),
        ("[\n  add(\n    a=1,\n    b=2,\n  ),\n]", [ADD]),
        ("I add them.\n[add(a=1, b=2)]", [ADD]),
        ("<think>[add(a=1, b=2)]</think>\n[add(a=1, b=2)]", [ADD]),
        ("<think>[add(a=1, b=2)]", []),
        ("<|python_start|>[add(a=1, b=2)]<|python_end|>", [ADD]),
        ("<function_calls>\nadd(a=1, b=2)\nadd(a=1, b=2)\n</function_calls>", [ADD, ADD]),
        ("<function_calls></function_calls>", []),
        ("[find-all(x=true), a.b(x=null)]", [Call(name="find-all", arguments={"x": True}), Call(name="a.b", arguments={"x": None})]),
        ("[f(x={'y': [1, -2.5, 'z)]'], \"ü\": None}, t=(1, 2))]", [Call(name="f", arguments={"x": {"y": [1, -2.5, "z)]"], "ü": None}, "t": [1, 2]})]),
        ('[python(code="a\\n\'b\'\\nprint(\\"(\\")")]', [Call(name="python", arguments={"code": "a\n'b'\nprint(\"(\")"})]),
        ("[1, 2, 3]", []),
        ("the list [add(a=1)] in a line", []),
        ("[now()]", [Call(name="now")]),
    ],
}  # fmt: skip
WRONG: dict[str, list[tuple[str, str]]] = {
    "hermes": [
        (tagged("{'name': 'add', 'arguments': {'a': 1}}"), "double quotes"),
        (tagged('{"name": "add", "arguments": {"a": 1,}}'), "remove the comma"),
        (tagged('{"name": "add", "arguments": {"a": None}}'), "write null"),
        (tagged('{"name": "add", "arguments": {"a": NaN}}'), "NaN is no JSON value"),
        (tagged('{"name": "say", "arguments": {"it": "he said "no""}}'), "double quote within a text"),
        ('<tool_call>\n{"name": "add", "argum', "not complete"),
        (tagged('{"name": "add", "arguments": {"a": 1}'), "Expecting ',' delimiter"),
        (tagged(JSON_ADD + "}"), "behind the JSON object stands '}'"),
        (tagged('{"arguments": {"a": 1}}'), 'no "name"'),
        (tagged('{"name": "", "arguments": {"a": 1}}'), 'no "name"'),
        (tagged('{"name": "add", "arguments": [1, 2]}'), "must be a JSON object"),
        (tagged('{"name": "add", "arguments": "one, two"}'), "no JSON object"),
        (tagged("add(1, 2)"), "Expecting value"),
        (tagged(""), "Expecting value"),
        (tagged("[" * 100_000), "nested too deeply"),
        (tagged('{"name": "add", "arguments": {"a": ' + "9" * 5000 + "}}"), "Exceeds the limit"),
    ],
    "json": [
        ("{'name': 'add', 'parameters': {}}", "double quotes"),
        ('{"name": "add", "parameters": {"a": 1,}}', "remove the comma"),
        ('{"name": "add", "parameters": {"a": 1', "not complete"),
        ('{"name": "add", "parameters": [1]}', "must be a JSON object"),
    ],
    "xml": [
        (tagged(JSON_ADD), "no <function=NAME>"),
        (tagged(XML_ADD.replace("=b>", "=a>")), "there twice"),
    ],
    "glm": [
        ("<tool_call>\n<arg_key>a</arg_key>\n<arg_value>1</arg_value>\n</tool_call>", "no name of a tool"),
        ("<tool_call>add\n{}</tool_call>", "stands '{}'"),
        (GLM_ADD.replace(">b<", ">a<"), "there twice"),
    ],
    "pythonic": [
        ("[add(1, 2)]", "name every argument"),
        ("[add(**x)]", "name every argument"),
        ("[add(a=f(1))]", "no plain value"),
        ("[add(a=1, b=2]", "no list of calls"),
        ("[add(a=1)", "no list of calls"),
        ("[add(a=1), 2]", "no call"),
        ("[add(a=" + "[" * 5000, "no list of calls"),
        ("[add(a=" + "-" * 90_000 + "1)]", "no list of calls"),
        ("[add(a=" + "[" * 90 + "]" * 90 + ", b=x)]", "no plain value"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("form", "text", "calls"), [(form, *case) for form, cases in READ.items() for case in cases])
def test_calls_are_found_as_they_were_meant(form: str, text: str, calls: list[Found]) -> None:
    assert found(form, text) == calls


@pytest.mark.parametrize(("form", "text", "why"), [(form, *case) for form, cases in WRONG.items() for case in cases])
def test_a_call_that_cannot_be_read_is_explained(form: str, text: str, why: str) -> None:
    *_, bad = found(form, text)
    assert isinstance(bad, BadCall)
    assert why in bad.why


@pytest.mark.parametrize("form", FORMATS)
def test_the_form_that_the_model_is_shown_is_read(form: str) -> None:
    (call,) = found(form, FORMATS[form].form.replace("VALUE", '"x"'))
    assert isinstance(call, Call)
    assert (call.name, list(call.arguments)) == ("NAME", ["ARGUMENT"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_turn_that_begins_within_a_thought_has_no_call_before_its_end(form: str) -> None:
    call = FORMATS[form].form.replace("VALUE", '"x"')
    assert found(form, f"perhaps\n{call}", opened=True) == []
    assert len(found(form, f"perhaps\n{call}\n</think>\n{call}", opened=True)) == 1


@settings(max_examples=60)
@given(st.text(max_size=100), st.sampled_from(sorted(FORMATS)))
def test_no_text_breaks_a_format(text: str, form: str) -> None:
    calls = found(form, FORMATS[form].form.replace("VALUE", text))
    assert all(isinstance(one, Call | BadCall) for one in calls)


VALUES = st.none() | st.integers() | st.text(max_size=20) | st.lists(st.text("{}[]<>/\"'\\\n", max_size=9), max_size=3)


@settings(max_examples=40)
@given(st.dictionaries(st.text(min_size=1, max_size=9), VALUES, max_size=3))
def test_every_json_object_survives_hermes(arguments: dict[str, object]) -> None:
    text = tagged(json.dumps({"name": "f", "arguments": arguments}, ensure_ascii=False))
    assert found("hermes", f"<think>{text}</think>{text}") == [Call(name="f", arguments=arguments)]


HOSTILE = ("<tool_call>", "<tool_call>{", '{"name":', "\n{", "<think>", "</think>", "<parameter=a>", "<function=a>", "</function>", "[f(a=", "\n[f(",
           "<arg_key>a</arg_key><arg_value>", "</tool_call>", "`", "[", '"', "<function_calls>", "{\n\"a\":[", "<arg_value></tool_call>")  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_long_hostile_texts_are_read_in_no_time(form: str) -> None:
    began = time.process_time()
    for piece in HOSTILE:
        found(form, piece * (30_000 // len(piece)))
    assert time.process_time() - began < 4


@pytest.mark.parametrize(
    ("template", "form"), [("qwen3", "hermes"), ("qwen2_5", "hermes"), ("glm4moe", "glm"), ("llama3", None), ("olmoe", None)]
)
def test_a_chat_template_shows_its_way_to_write_calls(template: str, form: str | None) -> None:
    assert format_shown((Path(__file__).parents[2] / "data" / "templates" / f"{template}.jinja").read_text()) == form


def test_results_stand_as_qwens_template_writes_them() -> None:
    one = FORMATS["hermes"].results(["4", "5"], wrapped=False)
    assert one == "<tool_response>\n4\n</tool_response>\n<tool_response>\n5\n</tool_response>"
    assert f"<tool_response>\n{FORMATS['hermes'].results(['4', '5'], wrapped=True)}\n</tool_response>" == one
    assert FORMATS["json"].results(["4", "5"], wrapped=True) == "4\n5"
