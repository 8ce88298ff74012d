"""Words between turns become tokens by the chat template, whatever came before them; history is never rendered again."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from configs.schema import Config
from rollout.behind import UnfitWords
from rollout.chat import Chat
from rollout.prompts import load_prompts
from rollout.reply_tokens import ReplyTokens
from rollout.sources import Source
from rollout.types import Prompt

FOLDER = Path("tests/data/templates")
CHARACTERS = [chr(code) for code in (10, *range(32, 127))]
MARKS = re.compile(r"<\|[a-z_]+\|>|\[/?(?:INST|TOOL_RESULTS|TOOL_CALLS|AVAILABLE_TOOLS)\]")
ROLES_OF_OLMOE = ["<|user|>", "<|assistant|>", "<|tool|>", "<|system|>"]
SEARCH = {"type": "function", "function": {"name": "search", "description": "Find.", "parameters": {"type": "object", "properties": {}}}}


@dataclass(frozen=True)
class Case:
    """A template, where its engine stops, how the model's turn ends, and what follows it in each role; None where it is refused."""

    template: str
    stops: tuple[str, ...]
    end: str
    user: str
    tool: str | None
    arguments: dict[str, Any]


def chatml(opening: str = "") -> tuple[str, str]:
    user = "\n<|im_start|>user\n12<|im_end|>\n<|im_start|>assistant\n"
    tool = "\n<|im_start|>user\n<tool_response>\n12\n</tool_response><|im_end|>\n<|im_start|>assistant\n"
    return user + opening, tool + opening


NO_THOUGHT = "<think>\n\n</think>\n\n"
LLAMA = "<|start_header_id|>{}<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
QWEN_STOPS = ("<|im_end|>", "<|endoftext|>")
CASES = {
    "qwen3 thinking": Case("qwen3", QWEN_STOPS, "<|im_end|>", *chatml(), {}),
    "qwen3 not thinking": Case("qwen3", QWEN_STOPS, "<|im_end|>", *chatml(NO_THOUGHT), {"enable_thinking": False}),
    "qwen2.5": Case("qwen2_5", QWEN_STOPS, "<|im_end|>", *chatml(), {}),
    "glm4moe": Case("glm4moe", ("<|endoftext|>", "<|user|>", "<|observation|>"), "<|user|>", "\n12<|assistant|>", None, {}),
    "llama3": Case("llama3", ("<|eot_id|>",), "<|eot_id|>", LLAMA.format("user", "12"), LLAMA.format("ipython", '"12"'), {}),
    "mixtral": Case("mixtral", ("</s>",), "</s>", " [INST] 12 [/INST]", None, {}),
    "mistral": Case(
        "mistral_tools",
        ("</s>",),
        "</s>",
        "[INST]12[/INST]",
        '[TOOL_RESULTS] {"content": "12", "call_id": "gatewise9"}[/TOOL_RESULTS]',
        {},
    ),
    "olmoe": Case("olmoe", ("<|endoftext|>",), "<|endoftext|>", "\n<|user|>\n12\n<|assistant|>\n", "\n<|tool|>\n12\n<|assistant|>\n", {}),
}


@cache
def read(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text()


def tokenizer(template: str | None, stops: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a character, with "12" merged; every mark of the template is a special token."""
    marks = sorted({*MARKS.findall(template or ""), *stops, *ROLES_OF_OLMOE, "<s>"})
    vocabulary = {text: number for number, text in enumerate([*CHARACTERS, "12"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("1", "2")]))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=stops[0], bos_token="<s>")
    made.chat_template = template
    return made


def replies(template: str | None, stops: Sequence[str], schemas: Sequence[dict[str, Any]] = (), **data: Any) -> ReplyTokens:
    role = data.pop("reply_role", "user")
    keys = {"train": "rows.jsonl", "chat_template": template is not None, **data}
    rollout = {"reply_role": role} if template else {}
    config = Config.model_validate({"model": {"path": "none"}, "data": keys, "rollout": rollout})
    made = tokenizer(template, stops)
    return ReplyTokens(config, made, [made.convert_tokens_to_ids(stop) for stop in stops], Chat(schemas=schemas))


def of_case(case: Case, **data: Any) -> ReplyTokens:
    return replies(read(case.template), case.stops, template_arguments=case.arguments, **data)


def token(made: ReplyTokens, text: str) -> int:
    (found,) = made.tokenizer.encode(text, add_special_tokens=False)
    return int(found)


def text_of(made: ReplyTokens, ids: Sequence[int]) -> str:
    text: str = made.tokenizer.decode(ids)
    return text


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_words_follow_the_end_that_the_model_sampled_and_open_its_next_turn(case: Case) -> None:
    made = of_case(case)
    assert text_of(made, made.of("12", "", token(made, case.end))) == case.user


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_words_of_a_tool_follow_in_the_templates_own_way_or_are_refused(case: Case) -> None:
    made = of_case(case, reply_role="tool")
    end = "<|observation|>" if case.template == "glm4moe" else case.end
    if case.template == "mixtral":
        with pytest.raises(UnfitWords, match="the chat template refuses them: roles must alternate"):
            made.of("12", "", token(made, end))
    else:
        expected = case.tool or "\n<tool_response>\n12\n</tool_response><|assistant|>"
        assert text_of(made, made.of("12", "", token(made, end))) == expected


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_tokens_of_an_episode_are_those_of_its_text_and_each_turn_begins_with_all_before(case: Case) -> None:
    """Three turns: what the model reads in turn k + 1 begins with what it read and said in turn k."""
    made = of_case(case)
    context = made.context([{"role": "user", "content": "6*7"}])
    text = text_of(made, context)
    for said in ("a" + case.end, "<think>12</think>\n12" + case.end, case.end):
        sampled = made.tokenizer.encode(said, add_special_tokens=False)
        delta = made.of("12", "", sampled[-1])
        longer = [*context, *sampled, *delta]
        assert longer[: len(context)] == context
        context, text = longer, text + said + case.user
    assert context == made.tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_another_stop_than_the_templates_leaves_the_templates_own_end_in_the_words(case: Case) -> None:
    made = of_case(case)
    for stop in case.stops:
        if stop != case.end:
            behind = text_of(made, made.of("12", "", token(made, stop)))
            assert behind.lstrip().startswith(case.end)
            assert behind.endswith(case.user)


def test_without_a_template_words_are_the_text_itself() -> None:
    made = replies(None, ["</s>"])
    assert text_of(made, made.of("12, \n", "", token(made, "</s>"))) == "12, \n"
    assert made.of("", "", token(made, "</s>")) == []
    assert text_of(made, made.context([{"role": "user", "content": "12+1="}])) == "12+1="
    with pytest.raises(UnfitWords, match=r"has 2 messages, but with data\.chat_template = false"):
        made.context([{"role": "user", "content": "1"}, {"role": "user", "content": "2"}])


def test_no_token_of_the_texts_beginning_stands_between_turns() -> None:
    from tokenizers.processors import TemplateProcessing

    made = replies(None, ["</s>"])
    begin = token(made, "<s>")
    made.tokenizer._tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", begin)])
    assert made.context([{"role": "user", "content": "1"}])[0] == begin
    assert begin not in made.of("1", "", token(made, "</s>"))


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("12", "12"),
        (" 12\n", "12"),
        ("12\n\n12", "12\n\n12"),
        ("", ""),
        ("a gatewise7said b", "a gatewise7said b"),
        ("gatewise8words", "gatewise8words"),
        ("<|eot_id|>", "<|eot_id|>"),
        ("{{ 6 * 7 }}", "{{ 6 * 7 }}"),
        ("1\ud8002", "12"),  # this tokenizer has ASCII alone
        ("\ud83d\ude00", ""),
    ],
)
def test_any_words_become_tokens(words: str, seen: str) -> None:
    made = of_case(CASES["llama3"])
    assert text_of(made, made.of(words, "", token(made, "<|eot_id|>"))) == LLAMA.format("user", seen)


def test_the_prefill_begins_every_turn_of_the_model() -> None:
    made = of_case(CASES["qwen3 thinking"], prefill="<think>\n")
    assert text_of(made, made.of("12", "", token(made, "<|im_end|>"))).endswith("assistant\n<think>\n")
    assert text_of(made, made.context([{"role": "user", "content": "1"}])).endswith("assistant\n<think>\n")


def test_words_are_rendered_by_the_keys_of_the_prompts_own_source(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "6*7", "answer": 42}\n')
    path = str(tmp_path / "rows.jsonl")
    off = {"path": path, "template_arguments": {"enable_thinking": False}, "system": "Add."}
    made = replies(read("qwen3"), QWEN_STOPS, train=None, sources={"a": {"path": path}, "b": off})
    prompts: list[Prompt] = []
    for key, data in made._of_source.items():
        prompts += load_prompts(Source(key=key, name="", path=path, split="train", data=data, checker="math"), made.tokenizer).prompts
    end = token(made, "<|im_end|>")
    deltas = [text_of(made, made.for_prompt(prompt).of("12", "", end)) for prompt in prompts]
    assert deltas == [chatml()[0], chatml(NO_THOUGHT)[0]]
    for prompt in prompts:  # a context that repeats the row's question is the row's prompt
        assert made.for_prompt(prompt).context([{"role": "user", "content": "6*7"}]) == prompt.token_ids.tolist()


def test_a_rewritten_context_has_the_tools_of_the_rows() -> None:
    made = replies(read("qwen3"), QWEN_STOPS, [SEARCH])
    assert '"name": "search"' in text_of(made, made.context([{"role": "user", "content": "1"}]))
    assert text_of(made, made.of("12", "tool", token(made, "<|im_end|>"))) == chatml()[1]


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
