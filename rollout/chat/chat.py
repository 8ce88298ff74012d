"""What the model reads of a row: plain text, or a conversation in the model's own chat template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from configs.errors import in_one_line
from configs.sections.data import DataConfig
from rollout.chat.unseen import refuse_unseen
from rollout.data.row import DatasetError, Row
from rollout.transcript.messages import Message, read_messages, refuse_unknown_roles

Schema = dict[str, Any]  # an OpenAI function schema


@dataclass(frozen=True, slots=True, kw_only=True)
class Chat:
    """What the driver has found out for everyone who renders a conversation of the run."""

    template: str | None = None  # the text of `data.template_file`, which an engine's node may lack
    schemas: Sequence[Schema] = ()  # of the tools


NOTHING = Chat()
MARK = re.compile(r"<\S+>|\[\S+\]")


class Tokenizer(Protocol):
    """The part of a `transformers` tokenizer that prompts need."""

    chat_template: Any

    def encode(self, text: str, **options: Any) -> list[int]: ...

    def apply_chat_template(self, conversation: list[Message], **options: Any) -> Any: ...


def tokenise(data: DataConfig, row: Row, tokenizer: Tokenizer, schemas: Sequence[Schema] = ()) -> tuple[str, list[int]]:
    """A row's prompt as text and as token ids, exactly as the model reads it. `schemas` describe the tools that it may call."""
    asked = row.values[data.prompt_field]
    if data.chat_template:
        where = f'{row.where}, field "{data.prompt_field}"'
        return tokenise_messages(data, row.where, where, make_messages(data, row, asked), tokenizer, schemas)
    if not isinstance(asked, str):
        raise DatasetError(
            f'{row.where} has a {type(asked).__name__} in field "{data.prompt_field}", but data.chat_template = false takes text as it is: '
            "give text, or set data.chat_template = true for a list of messages"
        )
    return asked, tokenizer.encode(asked)


def tokenise_messages(
    data: DataConfig, row: str, where: str, messages: list[Message], tokenizer: Tokenizer, schemas: Sequence[Schema] = ()
) -> tuple[str, list[int]]:
    """A conversation up to the model's turn as text and as token ids; `row` and `where` name it and its messages in errors."""
    refuse_unknown_roles(where, messages, tokenizer.chat_template)
    try:
        text, ids = render(data, messages, tokenizer, schemas)
    except Exception as error:  # a template is a program of the model's author and may raise anything
        raise DatasetError(
            f"{row} does not fit the model's chat template ({in_one_line(str(error))}): change its messages or data.system"
        ) from error
    rendered = text.removesuffix(data.prefill or "")
    refuse_repetition(row, rendered, data.prefill or "")
    refuse_unseen(row, messages, rendered, tokenizer, data.template_arguments, system=data.system is not None)
    refuse_hidden_tools(schemas, text)
    return text, ids


def render(data: DataConfig, messages: list[Message], tokenizer: Tokenizer, schemas: Sequence[Schema] = ()) -> tuple[str, list[int]]:
    """A conversation in the template up to the model's turn, then the prefill, as one text and its token ids.

    Not transformers' `continue_final_message`: templates write more around a final assistant turn, such as an empty thought.
    """
    options: dict[str, Any] = {**data.template_arguments, "add_generation_prompt": True}
    if schemas:
        options["tools"] = list(schemas)
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    if data.prefill:  # tokenised with the text before it, as the two may share a token
        return text + data.prefill, tokenizer.encode(text + data.prefill, add_special_tokens=False)
    return text, tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)


def refuse_hidden_tools(schemas: Sequence[Schema], text: str) -> None:
    """Raise DatasetError where the template does not show the model the tools that it may call."""
    names = [str(schema.get("function", schema).get("name")) for schema in schemas]
    if hidden := [name for name in names if name not in text]:
        raise DatasetError(
            f"tools.use: the chat template does not show the model {', '.join(hidden)}: give a template that reads `tools` in "
            "data.template_file, or set data.chat_template = false and describe the tools in the prompts"
        )


def refuse_repetition(where: str, rendered: str, prefill: str) -> None:
    """Raise DatasetError where a prefill repeats how the template begins the answer, such as a second opening mark of a thought."""
    words = prefill.strip()
    if MARK.fullmatch(words) and rendered.rstrip().endswith(words):
        raise DatasetError(f"{where}: the chat template itself ends with {words!r}, which data.prefill repeats: remove data.prefill")


def make_messages(data: DataConfig, row: Row, asked: object) -> list[Message]:
    """The conversation up to the model's turn: text becomes a user turn, a list of messages stays one."""
    where = f'{row.where}, field "{data.prompt_field}"'
    messages = read_messages(where, asked)
    if messages and messages[-1]["role"] == "assistant" and data.answer_turn == "refuse":
        raise DatasetError(
            f"{where}, ends in the assistant's answer, needed messages that end before the answer: remove that turn, or "
            f'set answer_turn = "cut", which asks the turns before it (the answer itself is the field "{data.prompt_field}.-1.content")'
        )
    while messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    if not messages:
        raise DatasetError(f"{where}, has no question: needs text, or messages with a turn before the answer")
    return with_system(data, row.where, messages)


def with_system(data: DataConfig, where: str, messages: list[Message]) -> list[Message]:
    """The conversation after data.system."""
    if data.system is None:
        return messages
    if any(turn["role"] == "system" for turn in messages):
        raise DatasetError(f"{where} has a system turn of its own, and data.system gives another: remove one of them")
    return [{"role": "system", "content": data.system}, *messages]


def question_of(data: DataConfig, row: Row) -> str:
    """What a row asks, in plain words: without the marks of a template and without data.system, which every row shares.

    One turn is its content alone; several are shown one after another, each after its role.
    """
    asked = row.values[data.prompt_field]
    if not data.chat_template:
        return str(asked)
    turns = make_messages(data, row, asked)[data.system is not None :]
    if len(turns) == 1:
        return str(turns[0]["content"])
    return "\n\n".join(f"{str(turn['role']).capitalize()}: {turn['content']}" for turn in turns)
