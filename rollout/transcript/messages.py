"""Conversations as data sets write them → turns of text, which every chat template can render; anything else is refused with its row."""

import re
from collections.abc import Mapping
from typing import Any
from unicodedata import category

from configs.json_cell import from_json
from rollout.data.row import DatasetError

Message = dict[str, Any]  # {"role": "user", "content": "..."}
ROLES = ("user", "assistant", "system", "tool", "developer")
MEANT = {
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "ai": "assistant",
    "model": "assistant",
}
TURNS = ({"role", "content"}, {"from", "value"})  # the second are ShareGPT's, which are refused
REPR = re.compile(r"\s*\[\s*\{\s*'(?:role|content|from|value)'\s*:")  # what str() makes of a list of messages
TEXT_PARTS = (None, "text", "input_text", "output_text")
NEEDED = 'needs text, or a list of messages with "role" and "content"'


def read_messages(where: str, asked: object) -> list[Message]:
    """The turns that a value of the prompt field gives; DatasetError names what cannot be given to a model as text.

    Text is one user turn, unless it is the JSON of a list of messages, as tables of text have them. A key of a turn that is null is absent.
    The texts of content in parts are joined by line breaks.
    """
    if isinstance(asked, str):
        turns = from_json(asked)
        if turns is None and REPR.match(asked):
            raise DatasetError(f"{where}, has messages as str() writes them, {asked[:60]!r}: write them with json.dumps")
        if isinstance(turns, dict) and {"role", "content"} <= set(turns):
            raise DatasetError(f"{where}, has a message alone as its text, {asked[:60]!r}: write a list of messages, [{{…}}]")
        if not is_conversation(turns):
            return [{"role": "user", "content": asked}] if is_visible(asked) else []
    else:
        turns = listed(asked)
    if isinstance(turns, list) and turns and all(isinstance(turn, Mapping) and {"from", "value"} <= set(turn) for turn in turns):
        raise DatasetError(
            f'{where}, has turns with "from" and "value": rename them to "role" and "content", "human" to "user" and "gpt" to "assistant"'
        )
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise DatasetError(f"{where}, has {str(asked)[:80]!r}: {NEEDED}")
    messages = [read_turn(f"{where}, turn {number}", turn) for number, turn in enumerate(turns, start=1)]
    if messages and messages[-1]["role"] not in ("assistant", "tool") and not is_visible(messages[-1]["content"]):
        raise DatasetError(f"{where}, has no question: the content of its last turn is blank; fill it in or remove the row")
    return messages


def is_visible(text: str) -> bool:
    """Whether a text has a character that people see: zero-width ones and controls are none."""
    return any(not character.isspace() and category(character)[0] != "C" for character in text)


def is_conversation(value: object) -> bool:
    """Whether JSON in a text is a list of messages; a question may well be about other JSON."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, dict) and any(keys <= set(turn) for keys in TURNS) for turn in value)
    )


def listed(asked: object) -> object:
    """A list of turns; older versions of `datasets` give a table of lists for it."""
    if not isinstance(asked, Mapping) or set(asked) != {"role", "content"}:
        return asked
    roles, contents = asked["role"], asked["content"]
    if not isinstance(roles, list) or not isinstance(contents, list) or len(roles) != len(contents):
        return asked
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]


def read_turn(where: str, turn: Mapping[str, Any]) -> Message:
    """A turn whose role and content are texts."""
    given = {str(key): value for key, value in turn.items() if value is not None}
    if "role" not in turn or ("content" not in turn and not given.get("tool_calls")):
        raise DatasetError(f"{where}, has the keys {', '.join(map(repr, turn)) or 'none'}: {NEEDED}")
    if not isinstance(given.get("role"), str):
        raise DatasetError(f'{where}, has the role {turn["role"]!r}: write "user", "assistant" or "system"')
    if "content" not in given and given.get("tool_calls"):  # a turn may only call
        return given | {"content": ""}
    content = given.get("content")
    if content is None:
        raise DatasetError(f"{where} ({given['role']}), has null as its content: give a text, or remove the row")
    return given | {"content": content if isinstance(content, str) else join_parts(f"{where} ({given['role']})", content)}


def join_parts(where: str, content: object) -> str:
    """The texts of a list of parts, one below another."""
    if not isinstance(content, list):
        raise DatasetError(f"{where}, has {content!r:.80} ({type(content).__name__}) as its content: give a text, a number in quotes")
    if not content:
        raise DatasetError(f"{where}, has an empty list as its content: give a text, or remove the row")
    return "\n".join(read_part(where, part) for part in content)


def read_part(where: str, part: object) -> str:
    """The text of a part; DatasetError for a picture, a sound and anything else."""
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") in TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = f'of type "{part["type"]}"' if isinstance(part, Mapping) and part.get("type") else f"{part!r:.80}"
    raise DatasetError(f"{where}, has a part {kind} in its content: a prompt is text alone, so remove the row, or give that part as text")


def refuse_unknown_roles(where: str, messages: list[Message], template: object) -> None:
    """Raise DatasetError for a role that is another word for one of the chat templates', unless the template names it.

    Some templates leave such a turn out, others write a role that the model never saw.
    """
    for number, turn in enumerate(messages, start=1):
        role = turn["role"]
        plain = role.strip().lower()
        meant = MEANT.get(plain, plain if plain in ROLES else role)
        if meant != role and f"'{role}'" not in str(template) and f'"{role}"' not in str(template):
            raise DatasetError(f'{where}, turn {number}, has the role "{role}", which the chat template does not know: write "{meant}"')
