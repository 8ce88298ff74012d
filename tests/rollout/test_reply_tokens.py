"""Words between turns become tokens by the chat template, whatever came before them; history is never rendered again."""

from pathlib import Path

import pytest

from rollout.chat.behind import UnfitWords
from rollout.data.sources import Source
from rollout.prompts.prompts import load_prompts
from rollout.types import Prompt
from tests.toys.templates import (
    CASES,
    LLAMA,
    NO_THOUGHT,
    OF_FAMILY,
    QWEN_STOPS,
    SEARCH,
    TELLING,
    Case,
    chatml,
    of_case,
    read,
    replies,
    text_of,
    token,
)


@pytest.mark.parametrize("case", TELLING.values(), ids=TELLING)
def test_words_follow_the_end_that_the_model_sampled_and_open_its_next_turn(case: Case) -> None:
    made = of_case(case)
    assert text_of(made, made.of("12", "", token(made, case.end))) == case.user


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_words_of_a_tool_follow_in_the_templates_own_way_or_are_refused(case: Case) -> None:
    made = of_case(case, reply_role="tool")
    end = "<|observation|>" if case.template == "glm4moe" else case.end
    refusals = {"mixtral": "the chat template refuses them: roles must alternate", "olmoe": 'leaves out the words of a turn of role "tool"'}
    if case.template in refusals:
        with pytest.raises(UnfitWords, match=refusals[case.template]):
            made.of("12", "", token(made, end))
    else:
        expected = case.tool or "\n<tool_response>\n12\n</tool_response><|assistant|>"
        assert text_of(made, made.of("12", "", token(made, end))) == expected


@pytest.mark.parametrize("case", TELLING.values(), ids=TELLING)
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
        assert case.user is not None
        context, text = longer, text + said + case.user
    assert context == made.tokenizer.encode(text, add_special_tokens=False)


@pytest.mark.parametrize("case", TELLING.values(), ids=TELLING)
def test_another_stop_than_the_templates_leaves_the_templates_own_end_in_the_words(case: Case) -> None:
    made = of_case(case)
    for stop in case.stops:
        if stop != case.end:
            behind = text_of(made, made.of("12", "", token(made, stop)))
            assert behind.lstrip().startswith(case.end)
            assert behind.endswith(str(case.user))


def test_a_template_that_moves_the_systems_words_is_refused_for_the_user_and_not_for_tools() -> None:
    made = of_case(CASES["mistral"])
    with pytest.raises(UnfitWords, match=r"depends on a system turn: .*; give a template .* in data\.template_file"):
        made.of("12", "user", token(made, "</s>"))
    assert text_of(made, made.of("12", "tool", token(made, "</s>"))) == CASES["mistral"].tool


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


def takes(case: Case, role: str) -> bool:
    try:
        of_case(case).form(role)
    except UnfitWords:
        return False
    return True


def several_turns(model_type: str) -> str:
    """The roles in which the templates of a family tell the model words, as docs/models.md writes them."""
    found = {role: {takes(CASES[name], role) for name in OF_FAMILY[model_type]} for role in ("user", "tool")}
    return ", ".join(role if len(taken) == 1 else f"{role} in some" for role, taken in found.items() if True in taken)


def test_the_docs_say_in_which_roles_each_familys_templates_tell_words() -> None:
    lines = Path("docs/models.md").read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    place = table[0].index("several turns")
    assert {row[1].strip("`"): row[place] for row in table[1:]} == {name: several_turns(name) for name in OF_FAMILY}
