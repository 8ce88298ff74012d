"""What the model reads of a row: plain text, or a conversation in the model's own chat template."""

import re
from typing import Any, Protocol

from configs.errors import in_one_line
from configs.sections.data import DataConfig
from rollout.data.row import DatasetError, Row
from rollout.messages import Message, read_messages, refuse_unknown_roles
from rollout.unseen import refuse_unseen

MARK = re.compile(r"<\S+>|\[\S+\]")


class Tokenizer(Protocol):
    """The part of a `transformers` tokenizer that prompts need."""

    chat_template: Any

    def encode(self, text: str, **options: Any) -> list[int]: ...

    def apply_chat_template(self, conversation: list[Message], **options: Any) -> Any: ...


def tokenise(data: DataConfig, row: Row, tokenizer: Tokenizer) -> tuple[str, list[int]]:
    """A row's prompt as text and as token ids, exactly as the model reads it."""
    asked = row.values[data.prompt_field]
    if data.chat_template:
        messages = make_messages(data, row, asked)
        refuse_unknown_roles(f'{row.where}, field "{data.prompt_field}"', messages, tokenizer.chat_template)
        try:
            text, ids = render(data, messages, tokenizer)
        except Exception as error:  # a template is a program of the model's author and may raise anything
            raise DatasetError(
                f"{row.where} does not fit the model's chat template ({in_one_line(str(error))}): change its messages or data.system"
            ) from error
        rendered = text.removesuffix(data.prefill or "")
        refuse_repetition(row.where, rendered, data.prefill or "")
        refuse_unseen(row.where, messages, rendered, tokenizer, data.template_arguments, system=data.system is not None)
        return text, ids
    if not isinstance(asked, str):
        raise DatasetError(
            f'{row.where} has a {type(asked).__name__} in field "{data.prompt_field}", but data.chat_template = false takes text as it is: '
            "give text, or set data.chat_template = true for a list of messages"
        )
    return asked, tokenizer.encode(asked)


def render(data: DataConfig, messages: list[Message], tokenizer: Tokenizer) -> tuple[str, list[int]]:
    """A conversation in the template up to the model's turn, then the prefill, as one text and its token ids.

    Not transformers' `continue_final_message`: templates write more around a final assistant turn, such as an empty thought.
    """
    options: dict[str, Any] = {**data.template_arguments, "add_generation_prompt": True}
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, **options)
    if data.prefill:  # tokenised with the text before it, as the two may share a token
        return text + data.prefill, tokenizer.encode(text + data.prefill, add_special_tokens=False)
    return text, tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **options)


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
    if data.system is None:
        return messages
    if any(turn["role"] == "system" for turn in messages):
        raise DatasetError(f"{row.where} has a system turn of its own, and data.system gives another: remove one of them")
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
