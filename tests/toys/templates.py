"""Chat templates of the families with the tokens that their engines stop at, and a tokenizer of characters for each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from configs.schema import Config
from rollout.chat.chat import Chat
from rollout.chat.reply_tokens import ReplyTokens

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
    user: str | None
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
    "qwen1.5": Case("chatml", QWEN_STOPS, "<|im_end|>", chatml()[0], chatml()[0].replace("user", "tool"), {}),
    "qwen2.5": Case("qwen2_5", QWEN_STOPS, "<|im_end|>", *chatml(), {}),
    "glm4moe": Case("glm4moe", ("<|endoftext|>", "<|user|>", "<|observation|>"), "<|user|>", "\n12<|assistant|>", None, {}),
    "llama3": Case("llama3", ("<|eot_id|>",), "<|eot_id|>", LLAMA.format("user", "12"), LLAMA.format("ipython", '"12"'), {}),
    "mixtral": Case("mixtral", ("</s>",), "</s>", " [INST] 12 [/INST]", None, {}),
    "mistral": Case(
        "mistral_tools",
        ("</s>",),
        "</s>",
        None,
        '[TOOL_RESULTS] {"content": "12", "call_id": "gatewise9"}[/TOOL_RESULTS]',
        {},
    ),
    "olmoe": Case("olmoe", ("<|endoftext|>",), "<|endoftext|>", "\n<|user|>\n12\n<|assistant|>\n", None, {}),
}
TELLING = {name: case for name, case in CASES.items() if case.user is not None}

OF_FAMILY = {
    "qwen3_moe": ("qwen3 thinking", "qwen3 not thinking"),
    "qwen2_moe": ("qwen1.5", "qwen2.5"),
    "olmoe": ("olmoe",),
    "mixtral": ("mixtral", "mistral"),
    "glm4_moe": ("glm4moe",),
    "qwen3": ("qwen3 thinking", "qwen3 not thinking"),
    "qwen2": ("qwen1.5", "qwen2.5"),
    "llama": ("llama3",),
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
    return ReplyTokens(config, made, [made.get_vocab()[stop] for stop in stops], Chat(schemas=schemas))


def of_case(case: Case, **data: Any) -> ReplyTokens:
    return replies(read(case.template), case.stops, template_arguments=case.arguments, **data)


def token(made: ReplyTokens, text: str) -> int:
    (found,) = made.tokenizer.encode(text, add_special_tokens=False)
    return int(found)


def text_of(made: ReplyTokens, ids: Sequence[int]) -> str:
    text: str = made.tokenizer.decode(ids)
    return text
