"""A row becomes a prompt exactly as the config says, or is refused with the row named and the remedy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from configs.schema import Config
from rollout.data.row import DatasetError
from rollout.prompts.prompts import PromptSet, load_eval_sets, load_training_prompts

TEMPLATE = "{% for m in messages %}<{{ m['role'][0] }}>{{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
STRICT_TEMPLATE = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}<u>"


def character_tokenizer(template: str | None = None) -> PreTrainedTokenizerFast:
    characters = [chr(code) for code in (10, *range(32, 127))]
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(characters)}, merges=[]))
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    tokenizer.chat_template = template
    return tokenizer


def load(folder: Path, rows: list[dict[str, Any]], template: str | None = None, checker: str = "math", **data: object) -> PromptSet:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    keys = {"train": str(path), "chat_template": template is not None, **data}
    config = Config.model_validate({"model": {"path": "none"}, "data": keys, "reward": {"checker": checker}})
    return load_training_prompts(config, character_tokenizer(template))


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{n}+{n}=", "answer": 2 * n} for n in range(count)]


def test_plain_text_is_tokenised_as_it_is(tmp_path: Path) -> None:
    (prompt,) = load(tmp_path, [{"prompt": "1+1=", "answer": "2"}]).prompts
    assert prompt.text == "1+1="
    assert prompt.token_ids.dtype == np.int32
    assert character_tokenizer().decode(prompt.token_ids) == "1+1="
    assert (prompt.reference, prompt.checker, prompt.prompt_id) == ("2", "math", "0")


def test_the_chat_template_wraps_text_and_opens_the_answer(tmp_path: Path) -> None:
    (prompt,) = load(tmp_path, [{"prompt": "1+1=", "answer": "2"}], TEMPLATE, system="Add.").prompts
    assert prompt.text == "<s>Add.\n<u>1+1=\n<a>"
    assert character_tokenizer().decode(prompt.token_ids) == prompt.text


def test_a_list_of_messages_is_a_conversation(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "+1?"}]
    (prompt,) = load(tmp_path, [{"prompt": turns, "answer": "3"}], TEMPLATE).prompts
    assert prompt.text == "<u>1+1=\n<a>2\n<u>+1?\n<a>"


PARTS = [{"type": "text", "text": "1+1=", "image": None}, "?", {"text": "In hex."}]
TURNS = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}, {"role": "user", "content": "+1?"}]


@pytest.mark.parametrize(
    ("asked", "settings", "question"),
    [
        ("1+1=", {"template": TEMPLATE}, "1+1="),
        ("1+1=", {"template": TEMPLATE, "system": "Add."}, "1+1="),
        ("1+1=", {}, "1+1="),
        ([{"role": "user", "content": "1+1="}], {"template": TEMPLATE, "system": "Add."}, "1+1="),
        ([{"role": "user", "content": PARTS}], {"template": TEMPLATE}, "1+1=\n?\nIn hex."),
        (TURNS, {"template": TEMPLATE, "system": "Add."}, "User: 1+1=\n\nAssistant: 2\n\nUser: +1?"),
        (
            [{"role": "system", "content": "In hex."}, {"role": "user", "content": "9+1="}],
            {"template": TEMPLATE},
            "System: In hex.\n\nUser: 9+1=",
        ),
    ],
)
def test_the_question_of_a_row_has_its_words_without_the_marks_of_the_template(
    tmp_path: Path, asked: object, settings: dict[str, Any], question: str
) -> None:
    (prompt,) = load(tmp_path, [{"prompt": asked, "answer": "2"}], **settings).prompts
    assert (prompt.question, prompt.where) == (question, f"{tmp_path}/rows.jsonl line 1")


def test_mapped_fields_are_read_and_a_row_may_name_its_checker(tmp_path: Path) -> None:
    rows = [{"question": "a", "gold": [1], "by": "exact"}, {"question": "b", "gold": {"x": 1}}, {"question": "c", "gold": 0, "by": None}]
    prompts = load(tmp_path, rows, prompt_field="question", reference_field="gold", checker_field="by").prompts
    assert [p.checker for p in prompts] == ["exact", "math", "math"]
    assert [p.reference for p in prompts] == [[1], {"x": 1}, 0]


def test_ids_are_row_numbers_that_stay_when_other_rows_are_dropped(tmp_path: Path) -> None:
    rows = sums(3)
    rows[1]["prompt"] = "1" * 50
    loaded = load(tmp_path, rows, max_prompt_tokens=10, overlong="drop")
    assert [p.prompt_id for p in loaded.prompts] == ["0", "2"]
    assert loaded.dropped == 1


def test_a_rows_own_id_is_kept(tmp_path: Path) -> None:
    rows = [{**row, "id": name} for row, name in zip(sums(3), ["x", 0, "y"], strict=True)]
    assert [p.prompt_id for p in load(tmp_path, rows).prompts] == ["x", "0", "y"]


@pytest.mark.parametrize("ids", [["x", "y", "x"], [None, "y", 0], [1, "1", 2]])
def test_two_rows_of_one_id_are_refused(tmp_path: Path, ids: list[object]) -> None:
    with pytest.raises(DatasetError, match=r"line \d and .*line \d have the same id"):
        load(tmp_path, [{**row, "id": name} for row, name in zip(sums(3), ids, strict=True)])


def test_overlong_prompts_are_refused_with_row_count_and_both_keys(tmp_path: Path) -> None:
    rows = [*sums(3), {"prompt": "1" * 11, "answer": 1}, *sums(2), {"prompt": "1" * 99, "answer": 1}]
    with pytest.raises(DatasetError) as caught:
        load(tmp_path, rows, max_prompt_tokens=10)
    for part in (
        "line 4 has 11 prompt tokens",
        "max_prompt_tokens = 10",
        "2 of 7 rows",
        "raise data.max_prompt_tokens",
        'data.overlong = "drop"',
    ):
        assert part in str(caught.value)


def test_a_prompt_of_exactly_the_limit_is_kept(tmp_path: Path) -> None:
    assert load(tmp_path, [{"prompt": "1" * 10, "answer": 1}], max_prompt_tokens=10).dropped == 0


def test_the_limit_counts_what_the_template_adds(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="has 11 prompt tokens"):
        load(tmp_path, [{"prompt": "1+1=", "answer": "2"}], TEMPLATE, max_prompt_tokens=10)


def test_dropping_every_prompt_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"all 3 prompts .* at least 4"):
        load(tmp_path, sums(3), max_prompt_tokens=1, overlong="drop")


def test_a_tokenizer_without_a_chat_template_is_refused_with_the_key_to_change(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"set data\.chat_template = false"):
        load(tmp_path, sums(1), chat_template=True)


@pytest.mark.parametrize(
    ("asked", "template", "reason"),
    [
        ("", None, "empty prompt"),
        ("", TEMPLATE, "no question"),
        ([], TEMPLATE, "no question"),
        ([{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}], TEMPLATE, 'or set answer_turn = "cut"'),
        ([{"content": "?"}], TEMPLATE, 'messages with "role" and "content"'),
        (7, TEMPLATE, "needs text"),
        (7, None, "takes text as it is"),
        ([{"role": "user", "content": "?"}], None, "data.chat_template = true"),
    ],
)
def test_a_prompt_that_asks_nothing_is_refused_with_its_line(tmp_path: Path, asked: object, template: str | None, reason: str) -> None:
    with pytest.raises(DatasetError, match="line 2") as caught:
        load(tmp_path, [{"prompt": "1+1=", "answer": 2}, {"prompt": asked, "answer": 2}], template)
    assert reason in str(caught.value)


def test_a_second_system_turn_is_refused(tmp_path: Path) -> None:
    turns = [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1="}]
    assert load(tmp_path, [{"prompt": turns, "answer": 2}], TEMPLATE).prompts[0].text.startswith("<s>Add.")
    with pytest.raises(DatasetError, match=r"data\.system gives another"):
        load(tmp_path, [{"prompt": turns, "answer": 2}], TEMPLATE, system="Subtract.")


def test_what_the_models_template_refuses_is_told_with_the_row(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"line 1 does not fit the model's chat template \(no system turns here\)"):
        load(tmp_path, sums(1), STRICT_TEMPLATE, system="Add.")


def test_a_checker_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='line 1 has 3 in field "by"'):
        load(tmp_path, [{"prompt": "1+1=", "answer": 2, "by": 3}], checker_field="by")


SFT = [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "2"}]


def test_the_turns_before_the_answer_are_the_prompt_when_asked_and_the_answer_may_be_the_reference(tmp_path: Path) -> None:
    fields = {"prompt_field": "messages", "reference_field": "messages.-1.content", "answer_turn": "cut"}
    again = [*SFT, {"role": "user", "content": "+1?"}, {"role": "assistant", "content": "3"}]
    first, second = load(tmp_path, [{"messages": SFT}, {"messages": again}], TEMPLATE, **fields).prompts
    assert (first.text, first.reference) == ("<u>1+1=\n<a>", "2")
    assert (second.text, second.reference) == ("<u>1+1=\n<a>2\n<u>+1?\n<a>", "3")


def test_messages_without_an_answer_at_their_end_are_used_whole_and_an_answer_alone_asks_nothing(tmp_path: Path) -> None:
    (prompt,) = load(tmp_path, [{"prompt": SFT[:1], "answer": 2}], TEMPLATE, answer_turn="cut").prompts
    assert prompt.text == "<u>1+1=\n<a>"
    with pytest.raises(DatasetError, match="has no question"):
        load(tmp_path, [{"prompt": SFT[1:], "answer": 2}], TEMPLATE, answer_turn="cut")


def mixed(folder: Path, **data: object) -> Config:
    """A config of two sources and three eval sets over the same two files, with fields of their own."""
    (folder / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in sums(3)))
    (folder / "asked.csv").write_text("id,question,gold,by\nx,what?,yes,\ny,who?,me,exact\n")
    own = {"path": str(folder / "asked.csv"), "prompt_field": "question", "reference_field": "gold", "checker": "match"}
    keys = {
        "sources": {"sums": {"path": str(folder / "sums.jsonl")}, "asked": {**own, "checker_field": "by", "system": "", **data}},
        "eval": str(folder / "sums.jsonl"),
        "eval_limit": 2,
        "evals": {"b": own, "a": {"path": str(folder / "sums.jsonl"), "limit": 1, "responses": 7, "system": "Count."}},
        "system": "Add.",
    }
    return Config.model_validate({"model": {"path": "none"}, "data": keys})


def test_each_source_has_its_fields_checker_and_system_and_its_name_is_in_its_prompts_and_ids(tmp_path: Path) -> None:
    found = load_training_prompts(mixed(tmp_path), character_tokenizer(TEMPLATE))
    assert [(p.prompt_id, p.source, p.checker, p.text) for p in found.prompts[:3]] == [
        ("asked/x", "asked", "match", "<u>what?\n<a>"),
        ("asked/y", "asked", "exact", "<u>who?\n<a>"),
        ("sums/0", "sums", "math", "<s>Add.\n<u>0+0=\n<a>"),
    ]
    assert dict(found.sizes) == {"asked": 2, "sums": 3}
    assert found.where["asked/y"].endswith("asked.csv line 3")


def test_eval_sets_have_names_limits_and_responses_of_their_own(tmp_path: Path) -> None:
    sets, rows = load_eval_sets(mixed(tmp_path), character_tokenizer(TEMPLATE))
    assert [(s.name, s.samples, [p.prompt_id for p in s.prompts]) for s in sets] == [
        ("", 1, ["0", "1"]),
        ("a", 7, ["a/0"]),
        ("b", 1, ["b/x", "b/y"]),
    ]
    assert sets[1].prompts[0].text.startswith("<s>Count.")
    assert [p.prompt_id for p in rows.prompts] == ["0", "1", "a/0", "b/x", "b/y"]


def test_a_bad_row_of_a_source_is_refused_with_the_name_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r'^data\.sources\.asked: .*asked\.csv line 2 has no value for field "answer"'):
        load_training_prompts(mixed(tmp_path, reference_field="answer"), character_tokenizer(TEMPLATE))


def test_without_a_reward_rows_need_no_reference_and_one_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "1+1="}\n{"prompt": "2+2=", "answer": "4"}\n')
    tables = {
        "model": {"path": "none"},
        "data": {"train": str(path), "chat_template": False},
        "reward": {"checker": "none"},
        "objective": {"advantage": "none"},
        "kl": {"coefficient": 1.0, "reference": "teacher"},
    }
    found = load_training_prompts(Config.model_validate(tables), character_tokenizer())
    assert [(prompt.reference, prompt.checker) for prompt in found.prompts] == [(None, "none"), ("4", "none")]
    with pytest.raises(DatasetError, match="answer"):
        load_training_prompts(Config.model_validate(tables | {"reward": {"checker": "math"}}), character_tokenizer())
