"""Qwen3's own chat template, thinking on and off, and what begins the assistant's turn: the ids that the model's makers give."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from configs.errors import ConfigError
from configs.loader import load
from configs.schema import Config
from rollout.chat.template import refuse_ignored_arguments, use_template
from rollout.data.row import DatasetError
from rollout.engine.detokenise import Detokeniser
from rollout.prompts.prompts import PromptSet, load_training_prompts

QWEN3 = Path("tests/data/templates/qwen3.jinja").read_text()
CHARACTERS = [chr(code) for code in (10, *range(32, 127))]
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>", "[THINK]", "[/THINK]"]
USER = "<|im_start|>user\n1+1=<|im_end|>\n<|im_start|>assistant\n"
NO_THOUGHT = "<think>\n\n</think>\n\n"


def tokenizer(template: str | None = QWEN3, eos: str = "<|im_end|>") -> PreTrainedTokenizerFast:
    """One token a character, "12" and "\\n\\n" merged, marks of chat special and of thinking not, as Qwen3 has them; [THINK] special."""
    merges = [("1", "2"), ("\n", "\n")]
    vocabulary = {text: number for number, text in enumerate([*CHARACTERS, *("".join(pair) for pair in merges)])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS if "think" not in mark])
    backend.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS if "think" in mark])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token="<|endoftext|>")
    made.chat_template = template
    return made


def prompts(folder: Path, **data: Any) -> PromptSet:
    path = folder / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "1+1=", "answer": "2"}) + "\n")
    config = Config.model_validate({"model": {"path": "none"}, "data": {"train": str(path), **data}})
    refuse_ignored_arguments(config.data, tokenizer())
    return load_training_prompts(config, tokenizer())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, USER),
        ({"template_arguments": {"enable_thinking": True}}, USER),
        ({"template_arguments": {"enable_thinking": False}}, USER + NO_THOUGHT),
        ({"prefill": "<think>\n"}, USER + "<think>\n"),
        ({"template_arguments": {"enable_thinking": False}, "prefill": "12"}, USER + NO_THOUGHT + "12"),
        ({"prefill": "\nSo"}, USER + "\nSo"),
        ({"system": "Add.", "template_arguments": {"enable_thinking": False}}, "<|im_start|>system\nAdd.<|im_end|>\n" + USER + NO_THOUGHT),
    ],
)
def test_a_prompt_is_the_templates_text_and_its_ids_those_of_that_text(tmp_path: Path, data: dict[str, Any], text: str) -> None:
    (prompt,) = prompts(tmp_path, **data).prompts
    assert prompt.text == text
    assert prompt.token_ids.tolist() == tokenizer().encode(text, add_special_tokens=False)
    assert prompt.prefill == data.get("prefill", "")


def test_the_ids_of_an_empty_thought_are_written_out(tmp_path: Path) -> None:
    """`<think>`, the merged "\\n\\n", `</think>`, "\\n\\n" again, and a prefill that merges with the text before it."""
    ids = {mark: tokenizer().convert_tokens_to_ids(mark) for mark in ("<think>", "</think>", "\n\n", "\n", "S")}
    (off,) = prompts(tmp_path, template_arguments={"enable_thinking": False}).prompts
    assert off.token_ids.tolist()[-4:] == [ids["<think>"], ids["\n\n"], ids["</think>"], ids["\n\n"]]
    (merged,) = prompts(tmp_path, prefill="\nS").prompts
    assert merged.token_ids.tolist()[-2:] == [ids["\n\n"], ids["S"]]


def test_a_source_has_its_own_arguments_and_prefill(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "1+1=", "answer": "2"}) + "\n")
    path = str(tmp_path / "rows.jsonl")
    sources = {"a": {"path": path}, "b": {"path": path, "template_arguments": {}, "prefill": ""}, "c": {"path": path, "prefill": "2"}}
    data = {"sources": sources, "template_arguments": {"enable_thinking": False}, "prefill": "1"}
    config = Config.model_validate({"model": {"path": "none"}, "data": data})
    found = load_training_prompts(config, tokenizer()).prompts
    assert [prompt.text for prompt in found] == [USER + NO_THOUGHT + "1", USER, USER + NO_THOUGHT + "2"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"enable_thinkin": False},
            "data.template_arguments.enable_thinkin: .* does not read enable_thinkin.*reads .*enable_thinking.*tools",
        ),
        ({"thinking": True}, "does not read thinking"),
        ({"message": "x"}, "does not read message"),  # a name of the template's own loop
    ],
)
def test_an_argument_that_the_template_ignores_is_refused_by_name(arguments: dict[str, Any], message: str) -> None:
    config = Config.model_validate({"model": {"path": "m"}, "data": {"train": "t", "template_arguments": arguments}})
    with pytest.raises(ValueError, match=message):
        refuse_ignored_arguments(config.data, tokenizer())


def test_a_template_that_marks_its_generations_is_read_too() -> None:
    marked = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}{% if deep %}!{% endif %}"
    config = Config.model_validate({"model": {"path": "m"}, "data": {"train": "t", "template_arguments": {"deep": True}}})
    refuse_ignored_arguments(config.data, tokenizer(marked))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (["data.prefill=So", "data.chat_template=false"], 'data.prefill: got "So" with data.chat_template = false, so it has no effect'),
        (["data.template_arguments.a=1", "data.chat_template=false"], "data.template_arguments: .* has no effect"),
        (["data.evals.x.path=t", "data.evals.x.prefill=So", "data.chat_template=false"], "data.evals.x.prefill: .* has no effect"),
        (["data.template_arguments.tokenize=true", "data.chat_template=true"], "every prompt sets by itself"),
        (['data.template_arguments.enable_thinking="False"', "data.chat_template=true"], "write false without quotes"),
        (["reward.see_prefill=false"], "reward.see_prefill: .*without data.prefill"),
        (['reward.thinking_marks=["<a>", "<A>"]'], "needed two that differ"),
        (['reward.thinking_marks=["<a>", " "]'], "reward.thinking_marks"),
        (['reward.thinking_marks=["<a>"]'], "reward.thinking_marks"),
        (['reward.thinking_marks=["<a>", "</a>"]', "reward.thinking=keep"], "has no effect: remove it"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(keys: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load("configs/tiny_cpu.toml", keys)


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("[THINK]7[/THINK]42<|im_end|>", "[THINK]7[/THINK]42"),
        ("<think>7</think>42<|endoftext|>", "<think>7</think>42"),
        ("42<|im_end|>", "42"),
        ("42", "42"),
        ("a<|im_start|>b", "a<|im_start|>b"),
    ],
)
@pytest.mark.parametrize("eos", ["<|im_end|>", "<|endoftext|>"])  # of a base model, whose template still ends turns by <|im_end|>
def test_marks_of_thinking_stay_in_the_text_and_ends_do_not(text: str, seen: str, eos: str) -> None:
    made = tokenizer(eos=eos)
    assert Detokeniser(made).text(made.encode(text, add_special_tokens=False)) == seen


def test_what_the_models_generation_config_stops_at_is_hidden() -> None:
    made = tokenizer(template=None, eos="<|endoftext|>")
    ids = made.encode("42<|im_end|>", add_special_tokens=False)
    assert Detokeniser(made).text(ids) == "42<|im_end|>"
    assert Detokeniser(made, [made.convert_tokens_to_ids("<|im_end|>")]).text(ids) == "42"


def test_content_that_a_template_refuses_names_the_row(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="line 1 does not fit the model's chat template"):
        prompts(tmp_path, template_arguments={"tools": 5})


def test_a_template_of_a_file_is_tried_with_its_arguments(tmp_path: Path) -> None:
    path = tmp_path / "t.jinja"
    path.write_text("{% for m in messages %}{{ m.content }}{% endfor %}{% if add_generation_prompt %}{{ sign }}{% endif %}")
    use_template(tokenizer(None), str(path), {"sign": "+"})
    with pytest.raises(ValueError, match="ignores add_generation_prompt"):
        use_template(tokenizer(None), str(path))


def test_a_prefill_that_the_template_has_written_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "1+1=", "answer": "2"}) + "\n")
    config = Config.model_validate({"model": {"path": "none"}, "data": {"train": str(tmp_path / "rows.jsonl"), "prefill": "<think>\n"}})
    with pytest.raises(DatasetError, match=r"line 1: the chat template itself ends with '<think>', which data\.prefill repeats"):
        load_training_prompts(config, tokenizer("{{ messages[0].content }}{% if add_generation_prompt %}<think>\n{% endif %}"))
