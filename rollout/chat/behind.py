"""What a chat template writes after a turn of the model: the end of that turn, words for the model, and the opening of its next turn.

History is never rendered again. The template renders a short conversation whose assistant says a sentinel, and the text behind the
sentinel is appended to the tokens as they were sampled. So templates that rewrite earlier turns, as Qwen3's drops thoughts, work too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from configs.errors import in_one_line
from rollout.chat.chat import Schema
from rollout.transcript.messages import Message

SENTINEL, MARK = "gatewise7said", "gatewise8words"  # letters and digits, so that no template strips or escapes them
QUESTION: Message = {"role": "user", "content": "gatewise6asked"}
SYSTEM: Message = {"role": "system", "content": "Be brief."}
THOUGHT = "<think>\nhm\n</think>\n\n"
CALL_ID, TOOL = "gatewise9", "tool"  # Mistral's templates want ids of nine letters or digits
SHOWN = 60  # characters of a text in a message


class UnfitWords(ValueError):
    """Words or messages that cannot become tokens of the model's context; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A tokenizer's chat template with everything that it is rendered with."""

    tokenizer: Any
    stops: Sequence[int]  # the tokens at which engines end a turn
    arguments: dict[str, Any] = field(default_factory=dict)
    schemas: Sequence[Schema] = ()

    def render(self, messages: Sequence[Message], *, opens: bool = True) -> str:
        """A conversation as text; UnfitWords where the template refuses it."""
        tools = {"tools": list(self.schemas)} if self.schemas else {}
        try:
            text: str = self.tokenizer.apply_chat_template(
                list(messages), **{**self.arguments, **tools, "add_generation_prompt": opens, "tokenize": False}
            )
        except Exception as error:  # a template is a program of the model's author and may raise anything
            raise UnfitWords(in_one_line(f"the chat template refuses them: {error}")) from error
        return text

    def name(self, token: int) -> str:
        """A token as its vocabulary writes it."""
        return str(self.tokenizer.convert_ids_to_tokens(token))


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What a conversation holds before the words: earlier messages, and a thought of the turn that is answered."""

    messages: tuple[Message, ...] = (QUESTION,)
    thought: str = ""


Form = Callable[[Template, str, Before], str]  # words and what came before them → the text behind the sentinel
FIRST = Before()


def plain(role: str) -> Form:
    """Words as a message of a role, and nothing else."""

    def behind(template: Template, words: str, before: Before = FIRST) -> str:
        said = {"role": "assistant", "content": before.thought + SENTINEL}
        return after_sentinel(template.render([*before.messages, said, {"role": role, "content": words}]))

    return behind


def of_a_call(template: Template, words: str, before: Before = FIRST) -> str:
    """Words as the result of a call, for templates that show results only after a call with an id and a name.

    The template writes the call as well; the model has already made its own, so the text begins with the end of the turn.
    """
    call = {"id": CALL_ID, "type": "function", "function": {"name": SENTINEL, "arguments": {}}}
    said = {"role": "assistant", "content": before.thought + SENTINEL, "tool_calls": [call]}
    result = {"role": "tool", "content": words, "tool_call_id": CALL_ID, "name": TOOL}
    behind = after_sentinel(template.render([*before.messages, said, result]))
    ends = [place for stop in template.stops if (place := behind.find(template.name(stop))) >= 0]
    if not ends:
        raise UnfitWords("the chat template writes no token at which engines stop between a call and its result")
    behind = behind[min(ends) :]
    if SENTINEL in behind.replace(words, ""):
        raise UnfitWords("the chat template repeats the name of a call with its result, which is not known here")
    return behind


def after_sentinel(text: str) -> str:
    """What stands behind the sentinel; UnfitWords where the template left it out."""
    _, sentinel, behind = text.partition(SENTINEL)  # the first one: words may hold it too
    if not sentinel:
        raise UnfitWords("the chat template leaves out what the assistant said")
    return behind


def form_for(template: Template, role: str) -> Form:
    """How words of a role are given to this template, the simplest way first; UnfitWords says why they cannot be given."""
    problems = []
    for form in (plain(role), of_a_call) if role == "tool" else (plain(role),):
        if (problem := unfit(template, form, role)) is None:
            return form
        problems.append(problem)
    first, *later = problems
    raise UnfitWords("; as the result of a call: ".join([first, *(problem for problem in later if problem != first)]))


def unfit(template: Template, form: Form, role: str) -> str | None:
    """What keeps words in this form from reaching the model as a turn of their own; None where nothing does."""
    try:
        behind = form(template, MARK, FIRST)
        refuse_lost_words(template, behind, role)
        refuse_other_end(template, behind)
        refuse_dependence(template, form, behind, role)
    except UnfitWords as error:
        return str(error)
    return None


def refuse_lost_words(template: Template, behind: str, role: str) -> None:
    """Raise UnfitWords where the words are not in the text, or where the text does not open the model's turn after them."""
    if MARK not in behind:
        raise UnfitWords(f'the chat template leaves out the words of a turn of role "{role}"')
    opening, after = template.render([QUESTION]).rpartition(QUESTION["content"])[2], behind.rpartition(MARK)[2]
    if role == "user" and after != opening:
        raise UnfitWords(
            f"the chat template opens the model's turn with {opening!r} after a question, but with {after!r} after these words"
        )


def end_of_turn(template: Template, behind: str) -> tuple[int, int] | None:
    """The token that ends the model's turn in the text behind the sentinel, and where it begins there.

    White space and other special tokens may stand before it, such as Cohere's end of a response. None where engines do not stop there.
    """
    found = [(place, stop) for stop in template.stops if (place := behind.find(template.name(stop))) >= 0]
    if not found:
        return None
    place, stop = min(found)
    rest = behind[:place]
    for token in template.tokenizer.added_tokens_decoder.values():
        rest = rest.replace(str(token), "") if token.special else rest
    return None if rest.strip() else (place, stop)


def refuse_other_end(template: Template, behind: str) -> None:
    """Raise UnfitWords where the template ends a turn with a token at which engines do not stop: a turn would never end there."""
    if end_of_turn(template, behind) is None:
        first = template.tokenizer.encode(behind.lstrip(), add_special_tokens=False)[0]
        stops = ", ".join(f"{template.name(stop)} ({stop})" for stop in template.stops) or "no token"
        raise UnfitWords(
            f"the chat template ends the assistant's turn with {template.name(first)!r} (token {first}), but engines stop at {stops} only: "
            f"add {first} to eos_token_id in the model's generation_config.json if that token ends its turns"
        )


def refuse_dependence(template: Template, form: Form, behind: str, role: str) -> None:
    """Raise UnfitWords where other turns before the words change the text."""
    again: Message = {"role": "assistant", "content": "41"}
    earlier: Message = {"role": role, "content": "no", "tool_call_id": CALL_ID, "name": TOOL}
    histories = {
        "earlier turns": Before(messages=(QUESTION, again, earlier)),
        "the thoughts of earlier turns": Before(
            messages=(QUESTION, {**again, "content": f"{THOUGHT}41"}, {**QUESTION, "content": "once more"})
        ),
        "a system turn": Before(messages=(SYSTEM, QUESTION)),
        "the thought of that turn": Before(thought=THOUGHT),
    }
    for what, before in histories.items():
        try:
            other = form(template, MARK, before)
        except UnfitWords:  # a history that this template does not take; it is never rendered
            continue
        if other != behind:
            raise UnfitWords(
                f"what the chat template writes after a turn depends on {what}: {shorten(behind)} or {shorten(other)}; give a template "
                "that writes every turn where it stands, in data.template_file"
            )


def written_around(template: Template) -> str:
    """What a template writes around turns of a question, of the system and of the model, without their words."""
    said: Message = {"role": "assistant", "content": SENTINEL}
    text = ""
    for messages in ([QUESTION, said, QUESTION], [SYSTEM, QUESTION]):
        try:
            text += replace(template, schemas=()).render(messages)
        except UnfitWords:  # a template without the role "system"
            continue
    return text


def shorten(text: str) -> str:
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}…")
