"""Whether the model reads every turn: a chat template is a program, and may leave out what it does not know."""

import html
import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from jinja2 import TemplateError

from rollout.data.row import DatasetError
from rollout.transcript.messages import ROLES, Message

SHOWN = 60  # characters of a turn in a message
SHORT = 12  # characters; so short a text may stand in a prompt by chance, in a date for example
REFUSALS = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
MARK = re.compile(r"(?:</[^<>\s]+>|\[/[^\[\]\s]+\])")  # the end of a thought, such as </think>
ADVICE = "give a template that shows it in data.template_file, or change the row's messages"


def refuse_unseen(where: str, messages: list[Message], text: str, tokenizer: Any, arguments: dict[str, Any], system: bool) -> None:
    """Raise DatasetError where a turn's words are not in the `text` that the template made with these arguments.

    `system` says that the first turn is data.system.

    Templates may strip and escape text, merge turns, and drop the thoughts of earlier answers. So white space, case and escapes do not
    count, and of an assistant's turn its end is enough.
    """
    for place, turn in enumerate(messages):
        content = turn["content"]
        whole = content.strip()
        answer = turn["role"] == "assistant"
        seen = whole in text or _is_in(whole, text) or (answer and _ends_in(whole, text))
        seen = seen and all(name in text for name in called(turn))
        if seen and 0 < len(whole) <= SHORT and not answer:
            seen = place not in left_out(
                tokenizer, str(tokenizer.chat_template), tuple(other["role"] for other in messages), json.dumps(arguments)
            )
        if not seen:
            raise DatasetError(describe(where, messages, place, system))


def called(turn: Message) -> Iterator[str]:
    """The names of the functions that a turn calls."""
    for call in turn.get("tool_calls", ()):
        function = call.get("function", call) if isinstance(call, dict) else {}
        if isinstance(function, dict) and isinstance(function.get("name"), str):
            yield function["name"]


def describe(where: str, messages: list[Message], place: int, system: bool) -> str:
    """What is left out, and what to do."""
    role, words = messages[place]["role"], messages[place]["content"].strip()
    calls = ", ".join(called(messages[place]))
    shown = repr(words if len(words) <= SHOWN else f"{words[:SHOWN]}…") if words or not calls else f"its calls of {calls}"
    if system and place == 0:
        return f"{where}: the chat template leaves out data.system ({shown}): remove data.system and write it into the prompts, or {ADVICE}"
    known = "" if role in ROLES else 'it may know "user", "assistant" and "system" only; '
    return f'{where}: the chat template leaves out turn {place + 1 - system} of role "{role}" ({shown}): {known}{ADVICE}'


def _is_in(words: str, text: str) -> bool:
    """Whether words are in a text but for white space, case, and how HTML and JSON escape them."""
    squeezed = squeeze(text)
    return any(squeeze(form) in squeezed for form in written(words))


def written(words: str) -> Iterator[str]:
    yield words
    yield html.escape(words)
    yield html.escape(words).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")  # as Jinja's own filter does
    yield json.dumps(words, ensure_ascii=False)[1:-1]
    escaped = json.dumps(words)[1:-1]
    yield escaped
    yield escaped.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026").replace("'", "\\u0027")


def squeeze(text: str) -> str:
    return "".join(text.split()).casefold()


def _ends_in(words: str, text: str) -> bool:
    """Whether what follows the last thought, or the last line, of an answer is in a text."""
    lines = words.splitlines()
    return not words or _is_in(MARK.split(words)[-1], text) or _is_in(lines[-1], text)


@lru_cache(maxsize=256)
def left_out(tokenizer: Any, template: str, roles: tuple[str, ...], arguments: str) -> frozenset[int]:
    """The places of turns that the template leaves out of a conversation with these roles, found with words that it cannot have itself."""
    words = [f"gatewise{place}words" for place in range(len(roles))]
    messages = [{"role": role, "content": word} for role, word in zip(roles, words, strict=True)]
    render: Callable[..., str] = tokenizer.apply_chat_template
    try:
        text = render(messages, add_generation_prompt=True, tokenize=False, **json.loads(arguments))
    except REFUSALS:  # the template accepts the row, but not these words: then the row's own text was checked alone
        return frozenset()
    return frozenset(place for place, word in enumerate(words) if word not in squeeze(text))
