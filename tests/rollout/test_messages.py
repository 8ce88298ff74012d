"""Under a chat template the model reads every word of a row's turns, or the row is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest

from rollout.data.row import DatasetError
from rollout.transcript.messages import read_messages
from tests.rollout.test_prompts import TEMPLATE, load

OPENS = "{% if add_generation_prompt %}<a>{% endif %}"
# Templates that change or merge text as those of real models do; every word of the question stays.
FAITHFUL = {
    "chatml": "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}",
    "trims": "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}",
    "escapes html": "{% for m in messages %}<{{ m.role }}>{{ m.content | e }}\n{% endfor %}",
    "writes json": "{% for m in messages %}{{ {'role': m.role, 'content': m.content} | tojson }}\n{% endfor %}",
    "indents": "{% for m in messages %}{{ m.role }}:\n{{ m.content | indent(4) }}\n{% endfor %}",
    "upper case": "{% for m in messages %}{{ m.role }}: {{ m.content | upper }}\n{% endfor %}",
    "dates": "Today is 2026-11-26.\n{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    "drops thoughts": "{% for m in messages %}{{ m.role }}: "
    "{% if m.role == 'assistant' %}{{ m.content.split('</think>')[-1].lstrip() }}{% else %}{{ m.content }}{% endif %}\n{% endfor %}",
    "merges the system turn": "{% if messages[0].role == 'system' %}{% set head = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set head = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}[{{ m.role }}]{% if loop.last %}{{ head }} {% endif %}{{ m.content }}\n{% endfor %}",
}
HISTORY = [
    {"role": "system", "content": ' Be brief & "exact".\n'},
    {"role": "user", "content": "Is 1 < 2?\n\n  Say 'yes'.  "},
    {"role": "assistant", "content": "<think>\n1 is less\n</think>\n\nyes"},
    {"role": "user", "content": "7"},
]


@pytest.mark.parametrize("name", FAITHFUL)
@pytest.mark.parametrize("asked", ["1+1=", HISTORY, "  two\n\nlines\t", "say \"a\" & <b>, \\frac{1}{2}, 'c', \\n"])
def test_a_template_may_change_text_as_templates_do(tmp_path: Path, name: str, asked: object) -> None:
    system = {"system": "Add."} if isinstance(asked, str) else {}
    (prompt,) = load(tmp_path, [{"prompt": asked, "answer": "2"}], FAITHFUL[name] + OPENS, **system).prompts
    assert len(prompt.token_ids)


KNOWS = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}{{ m.role }}: {{ m.content }}\n{% endif %}{% endfor %}" + OPENS
BLIND = "Today is 2026-11-26.{% if messages %}user: {% endif %}" + OPENS
USER = {"role": "user", "content": "What is 6+7?"}


@pytest.mark.parametrize(
    ("asked", "template", "reason"),
    [
        ([{"role": "human", "content": "What is 6+7?"}], KNOWS, 'the role "human", which the chat template does not know: write "user"'),
        ([{"role": "human", "content": "What is 6+7?"}], FAITHFUL["chatml"] + OPENS, 'write "user"'),
        ([{"role": "User", "content": "What is 6+7?"}], KNOWS, 'write "user"'),
        ([USER, {"role": "gpt", "content": "13"}, USER], KNOWS, 'turn 2, has the role "gpt".* write "assistant"'),
        ([USER, {"role": "bot", "content": "13"}], KNOWS, 'write "assistant"'),
        ([{"role": "narrator", "content": "Once upon a time"}, USER], KNOWS, 'leaves out turn 1 of role "narrator".*"user", "assistant"'),
        ([{"from": "human", "value": "What is 6+7?"}], KNOWS, 'rename them to "role" and "content"'),
        ([{"role": "system", "content": "Add."}, USER], KNOWS, 'leaves out turn 1 of role "system"'),
        ([{"role": "user", "content": None}], KNOWS, "turn 1 \\(user\\), has null as its content"),
        ([{"role": "user", "content": 42}], KNOWS, "42 \\(int\\) as its content: give a text"),
        ([{"role": "user", "content": {"text": "6+7"}}], KNOWS, "\\(dict\\) as its content"),
        ([{"role": "user", "content": []}], KNOWS, "an empty list as its content"),
        ([{"role": "user", "content": [{"type": "text", "text": "?"}, {"type": "image_url", "image_url": {}}]}], KNOWS, 'type "image_url"'),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], KNOWS, 'type "input_audio"'),
        ([{"role": "user", "content": [None]}], KNOWS, "a part None"),
        ([{"role": "user", "content": " \n"}], KNOWS, "no question"),
        ([USER, {"role": "assistant", "content": "13"}, {"role": "user", "content": ""}], KNOWS, "no question"),
        ("   ", KNOWS, "no question"),
        ("\u200b\ufeff", KNOWS, "no question"),
        (json.dumps(USER), KNOWS, "a message alone as its text"),
        ([{"role": None, "content": "?"}], KNOWS, "has the role None"),
        (["What is 6+7?"], KNOWS, 'messages with "role" and "content"'),
        ({"text": "What is 6+7?"}, KNOWS, 'messages with "role" and "content"'),
        ("[{'role': 'user', 'content': 'What is 6+7?'}]", KNOWS, "write them with json.dumps"),
        (
            [USER, {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {}}}]}, USER],
            KNOWS,
            "leaves out turn 2.*calls of add",
        ),
    ],
)
def test_what_the_model_would_not_read_is_refused_with_its_row(tmp_path: Path, asked: object, template: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=rf"rows\.jsonl line 2.*{reason}"):
        load(tmp_path, [{"prompt": "1+1=", "answer": 2}, {"prompt": asked, "answer": 2}], template)


@pytest.mark.parametrize("asked", ["What is 6+7?", "26", "2026-11-26", [USER]])
def test_a_template_that_drops_the_question_is_refused_even_where_its_words_stand_elsewhere(tmp_path: Path, asked: object) -> None:
    with pytest.raises(DatasetError, match=r'line 1: the chat template leaves out turn 1 of role "user"'):
        load(tmp_path, [{"prompt": asked, "answer": 2}], BLIND)


def test_a_system_text_that_the_template_ignores_is_refused_by_its_key(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 1: the chat template leaves out data\.system \('Add\.'\): remove data\.system"):
        load(tmp_path, [{"prompt": "1+1=", "answer": 2}], KNOWS, system="Add.")


def test_a_template_that_names_a_role_of_its_own_may_have_it(tmp_path: Path) -> None:
    own = "{% for m in messages %}{% if m.role == 'human' %}H: {{ m.content }}{% endif %}{% endfor %}" + OPENS
    (prompt,) = load(tmp_path, [{"prompt": [{"role": "human", "content": "1+1="}], "answer": 2}], own).prompts
    assert prompt.text == "H: 1+1=<a>"


PARTS = [{"type": "text", "text": "1+1=", "image": None}, "In hex."]


@pytest.mark.parametrize(
    ("asked", "read"),
    [
        ("1+1=", [{"role": "user", "content": "1+1="}]),
        ([{"role": "user", "content": PARTS}], [{"role": "user", "content": "1+1=\nIn hex."}]),
        ([{"role": "user", "content": "?", "name": None, "tool_calls": None}], [{"role": "user", "content": "?"}]),
        (
            {"role": ["system", "user"], "content": ["Add.", "1+1="]},
            [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1="}],
        ),
        (json.dumps([{"role": "user", "content": "1+1="}]), [{"role": "user", "content": "1+1="}]),
        (json.dumps([{"role": "user", "content": PARTS}]), [{"role": "user", "content": "1+1=\nIn hex."}]),
        ("[1, 2, 3]", [{"role": "user", "content": "[1, 2, 3]"}]),
        ('[{"a": 1}]', [{"role": "user", "content": '[{"a": 1}]'}]),
        ("[{'a': 1}]", [{"role": "user", "content": "[{'a': 1}]"}]),
        ("", []),
    ],
)
def test_turns_are_read_in_every_way_that_data_sets_write_them(asked: object, read: list[dict[str, Any]]) -> None:
    assert read_messages("row", asked) == read


def test_messages_in_a_cell_of_a_table_are_messages(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]
    data = {"answer_turn": "cut", "prompt_field": "chat", "reference_field": "chat.-1.content"}
    (prompt,) = load(tmp_path, [{"chat": json.dumps(turns)}], TEMPLATE, **data).prompts
    assert (prompt.text, prompt.reference, prompt.question) == ("<u>1+1=\n<a>", "2", "1+1=")
