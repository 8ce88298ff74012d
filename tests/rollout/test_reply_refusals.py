"""A template that cannot tell the model words, or a context that no row could have, is refused with the reason."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rollout.chat.behind import UnfitWords
from rollout.data.row import DatasetError
from rollout.data.sources import Source
from rollout.prompts.prompts import load_prompts
from tests.toys.templates import (
    QWEN_STOPS,
    SEARCH,
    read,
    replies,
    text_of,
    token,
)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "must end before the model's turn"),
        ([{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}], "must end before the model's turn"),
        ([{"role": "human", "content": "1"}], 'the role "human", which the chat template does not know: write "user"'),
        ([{"role": "user", "content": None}], "has null as its content"),
        ([{"role": "user"}], "needs text, or a list of messages"),
        ([{"role": "user", "content": [{"type": "image", "image": "x"}]}], "a prompt is text alone"),
        ([{"role": "user", "content": "1" * 2000}], r"tokens, needed 1 to 1024 \(data.max_prompt_tokens\)"),
        ([{"role": "system", "content": "1"}, {"role": "user", "content": "2"}], "has a system turn of its own"),
        (["1"], "needs text, or a list of messages"),
    ],
)
def test_a_context_that_rows_could_not_have_is_refused(messages: Any, message: str) -> None:
    with pytest.raises(UnfitWords, match=message):
        replies(read("qwen3"), QWEN_STOPS, system="Add.").context(messages)


LOOP = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
OPEN = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


def shown(content: str) -> str:
    """A template that writes the content of a turn in this way."""
    return LOOP.replace("{{ m.content }}", content) + OPEN


NAMED_BY_ITS_CALL = (
    "{% for m in messages %}{% if m.role == 'tool' and not (loop.previtem or {}).tool_calls %}{{ raise_exception('no call') }}{% endif %}"
    "<|im_start|>{{ loop.previtem.tool_calls[0].function.name if m.role == 'tool' else m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}<|im_end|>\n{% endfor %}" + OPEN
)


@pytest.mark.parametrize(
    ("template", "stops", "role", "message"),
    [
        (shown("{% if m.role != 'tool' %}{{ m.content }}{% endif %}"), QWEN_STOPS, "tool", 'leaves out the words of a turn of role "tool"'),
        (shown("{{ m.content[0].text }}"), QWEN_STOPS, "user", "leaves out what the assistant said"),
        (shown("{{ m.content.text() }}"), QWEN_STOPS, "user", "refuses them: .* has no attribute"),
        (shown("{{ m.content if m.role == 'user' }}"), QWEN_STOPS, "user", "leaves out what the assistant said"),
        (
            shown("{{ m.content }}"),
            ("<|endoftext|>",),
            "user",
            r"ends the assistant's turn with '<\|im_end\|>' .* stop at <\|endoftext\|> ",
        ),
        (shown("{{ m.content }}.") + "?", QWEN_STOPS, "user", r"ends the assistant's turn with '\.'"),
        (shown("{{ loop.index }}{{ m.content }}"), QWEN_STOPS, "user", "depends on earlier turns"),
        (
            shown("{{ m.content }}{{ messages[0].content if loop.last and messages[0].role == 'system' }}"),
            QWEN_STOPS,
            "user",
            "a system turn",
        ),
        (NAMED_BY_ITS_CALL, QWEN_STOPS, "tool", "repeats the name of a call with its result"),
        (LOOP + "{% if messages|length == 1 %}" + OPEN + "{% endif %}", QWEN_STOPS, "user", "opens the model's turn with"),
    ],
)
def test_a_template_that_cannot_answer_a_turn_is_refused_with_the_reason(
    template: str, stops: Sequence[str], role: str, message: str
) -> None:
    with pytest.raises(UnfitWords, match=message):
        replies(template, stops).of("12", role, 0)


def test_the_end_of_a_turn_may_be_several_tokens() -> None:
    template = "{% for m in messages %}[INST]{{ m.content }}[/INST]</s>{% endfor %}"
    made = replies(template, ["</s>"])
    assert text_of(made, made.of("12", "", token(made, "</s>"))) == "[INST]12[/INST]</s>"


def test_the_template_of_the_docs_takes_several_turns() -> None:
    text = Path("docs/data.md").read_text(encoding="utf-8").partition("## Several turns")[2]
    made = replies(text.split("```")[1].strip("\n"), ["</s>"])
    assert text_of(made, made.of("12", "", token(made, "</s>"))) == "\nuser: 12\nassistant: "


def test_tools_that_the_template_does_not_show_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "6*7", "answer": 42}\n')
    for template, shown in (("qwen3", True), ("mixtral", False)):
        made = replies(read(template), QWEN_STOPS)
        source = Source(key="data.train", name="", path=str(tmp_path / "rows.jsonl"), split="train", data=made.data, checker="math")
        if shown:
            assert '"name": "search"' in load_prompts(source, made.tokenizer, [SEARCH]).prompts[0].text
        else:
            with pytest.raises(DatasetError, match=r"tools\.use: the chat template does not show the model search"):
                load_prompts(source, made.tokenizer, [SEARCH])
