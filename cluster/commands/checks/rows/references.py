"""What the other references of a column tell about one that its checker cannot use."""

from itertools import islice
from typing import Any

from configs.arithmetic import counted
from configs.json_cell import from_json
from reward.checkers import check_reference
from rollout.prompts.prompts import PromptSet
from rollout.types import Prompt

TRIED = 100  # rows of other kinds
SHOWN_CHARS = 60
KINDS = {str: "a text", bool: "a true or false value", int: "a number", float: "a number", list: "a list", dict: "an object"}


def beside(rows: PromptSet, refused: Prompt, checker: str) -> str:
    """A sentence about rows of the same source whose references the checker can use, if they are of another kind; else empty.

    It counts the rows of either kind, so that a person sees which of them to change.
    """
    column = [prompt for prompt in rows.prompts if prompt.source == refused.source]
    others = (prompt for prompt in column if kind_of(prompt.reference) != kind_of(refused.reference))
    usable = next((prompt for prompt in islice(others, TRIED) if is_usable(checker, prompt)), None)
    if usable is None:
        return ""
    alike = sum(kind_of(prompt.reference) == kind_of(refused.reference) for prompt in column)
    shown = repr(usable.reference)
    shown = shown if len(shown) <= SHOWN_CHARS else f"{shown[:SHOWN_CHARS]}…"
    return (
        ". The column has references of two kinds: "
        f"this one, as {counted(alike, 'row')} of {len(column)}, is {kind_of(refused.reference)}; "
        f"{rows.where[usable.prompt_id]} has {shown}, {kind_of(usable.reference)} that {checker!r} takes. "
        "Write all in that form, or name each row's checker in the field of data.checker_field"
    )


def is_usable(checker: str, prompt: Prompt) -> bool:
    try:
        check_reference(checker, prompt.reference)
    except ValueError:
        return False
    return True


def kind_of(reference: Any) -> str:
    """The kind of a reference in JSON's words; a JSON text counts as what it spells out."""
    found = from_json(reference) if isinstance(reference, str) else None
    return KINDS.get(type(reference if found is None else found), type(reference).__name__)
