"""What an agent says after a turn of the model, by the chat templates of the model families."""

import json

import pytest

from rollout.chat.behind import UnfitWords
from tests.toys.templates import CASES, QWEN_STOPS, SEARCH, TELLING, Case, of_case, read, replies, text_of, token

RESULTS = [{"role": "tool", "content": words, "tool_call_id": f"c0000000{words}", "name": "add"} for words in ("1", "2")]


@pytest.mark.parametrize("case", TELLING.values(), ids=TELLING)
def test_one_message_is_told_as_words_of_its_role_and_several_as_a_template_tells_several(case: Case) -> None:
    made = of_case(case)
    end = token(made, case.end)
    assert made.after([{"role": "user", "content": "12"}], end) == made.of("12", "user", end)
    for messages in (RESULTS, [{"role": "user", "content": "1"}, {"role": "user", "content": "2"}]):
        try:
            text = text_of(made, made.after(messages, end))
        except UnfitWords:  # the whole history is rendered for a segment of its own instead
            continue
        assert text.index("1") < text.index("2")
        assert messages is RESULTS or text.endswith(str(case.user).rpartition("12")[2]), "a template may open no turn after a result"


def test_two_results_are_told_as_the_template_tells_two() -> None:
    made = replies(read("qwen3"), QWEN_STOPS)
    told = text_of(made, made.after(RESULTS, token(made, "<|im_end|>")))
    results = "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"
    assert told == f"\n<|im_start|>user\n{results}<|im_end|>\n<|im_start|>assistant\n"


def test_results_that_a_template_writes_as_json_are_told() -> None:
    made = replies(read("llama3"), ["<|eot_id|>"])
    results = [{"role": "tool", "content": f'{{"found": "a\\nb {number}"}}', "tool_call_id": "c", "name": "add"} for number in (1, 2)]
    told = text_of(made, made.after(results, token(made, "<|eot_id|>")))
    assert [json.loads(part.partition("<|eot_id|>")[0]) for part in told.split("ipython<|end_header_id|>\n\n")[1:]] == [
        one["content"] for one in results
    ]


def test_a_system_turn_of_the_agents_own_takes_the_place_of_the_runs() -> None:
    made = replies(read("qwen3"), QWEN_STOPS, system="67")
    messages = [{"role": "system", "content": "12"}, {"role": "user", "content": "1+1="}]
    with pytest.raises(UnfitWords, match="system turn of its own"):
        made.context(messages)
    assert "67" not in text_of(made, made.showing([], system=False).context(messages))
    assert "67" in text_of(made, made.showing([]).context(messages[1:]))


def test_tools_of_a_request_are_shown_or_refused() -> None:
    messages = [{"role": "user", "content": "12"}]
    made = replies(read("qwen3"), QWEN_STOPS).showing([SEARCH])
    assert '"name": "search"' in text_of(made, made.context(messages))
    with pytest.raises(UnfitWords, match="does not show the model"):
        of_case(CASES["mixtral"]).showing([SEARCH]).context(messages)
