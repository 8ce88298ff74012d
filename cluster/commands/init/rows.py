"""What a dataset looks like: the field with the question, the field with the reference, and the checker that can read it."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reward.checkers import check_reference, known_checkers
from rollout.data.fields import find
from rollout.data.row import RawRow

# In the order in which they are preferred; the last part of a nested name counts.
PROMPT_NAMES = (
    "prompt",
    "question",
    "problem",
    "messages",
    "conversations",
    "conversation",
    "query",
    "instruction",
    "input",
    "task",
    "text",
)
REFERENCE_NAMES = (
    "ground_truth", "reference", "answer", "final_answer", "target", "expected", "expected_output", "label", "result", "gold", "output",
    "tests", "test_cases", "test", "solution", "canonical_solution", "answers", "response",
)  # fmt: skip
# Checkers of references that are objects or arrays, the most particular form first. Code first: its forms are like no other's.
OBJECT_CHECKERS = ("code", "instructions", "choice", "json", "tags", "length", "regex", "language", "match")
LETTER = re.compile(r"\s*[(\[]?[A-H][)\].:]?\s*")
OPTIONS = re.compile(r"(?:^|[\s(\[])[A-D][).:\]]\s*\S.*?(?:^|[\s(\[])B[).:\]]", re.DOTALL)
MATHS = re.compile(r"[\d\\$^=]")
WORDS = re.compile(r"\S+")
FEW_WORDS = 6
MOST = 0.9  # share of rows that must look alike


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """Which fields of a row mean what, and how its reference is checked."""

    prompt: str
    reference: str
    checker: str
    checker_field: str | None
    why: str  # the checker was chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the user names himself instead of leaving it to a guess."""

    prompt: str | None = None
    reference: str | None = None
    checker: str | None = None


NOTHING = Told()


def find_fields(rows: Sequence[RawRow], source: str, told: Told = NOTHING) -> Fields:
    """Guess the fields of a dataset from its rows; ValueError, with what the rows have, where nothing fits."""
    columns = flat_columns(rows)
    for name in filter(None, (told.prompt, told.reference)):
        columns.setdefault(name, [value for row in rows if (value := find(row.values, name)) not in (None, "")])
        if len(columns[name]) < len(rows):
            raise ValueError(f'{source} has no value for field "{name}" in every row: its fields are {listed(columns)}')
    prompt = told.prompt or next(prompts_of(columns), None)
    if prompt is None:
        raise ValueError(
            f"{source} has no field that looks like a question: its fields are {listed(columns)}. Name it with --prompt-field; "
            "it must hold text, or a list of messages with role and content, in every row"
        )
    named_by = next(
        (name for name, values in columns.items() if name == "checker" and set(map(str, values)) <= set(known_checkers())), None
    )
    named = [told.reference] if told.reference else [name for name in by_name(columns, REFERENCE_NAMES) if name != prompt]
    candidates = [name for name in named if len(columns[name]) == len(rows)]
    answers = [find(row.values, f"{prompt}.-1.content") for row in rows]
    if not named and all(map(ends_in_answer, columns[prompt])) and all(answers):
        candidates, columns[f"{prompt}.-1.content"] = [f"{prompt}.-1.content"], answers
    if not candidates:
        raise ValueError(without_reference(rows, columns, prompt, named, source))
    if told.checker:
        return Fields(prompt=prompt, reference=candidates[0], checker=told.checker, checker_field=named_by, why="as asked")
    for name in candidates:
        if found := choose_checker(columns[name], columns[prompt]):
            return Fields(prompt=prompt, reference=name, checker=found[0], checker_field=named_by, why=found[1])
    raise ValueError(
        f'no checker can compare with "{candidates[0]}" of {source}, for example {str(columns[candidates[0]][0])[:80]!r}: give your own '
        "function with --reward my_reward.py:score, def score(response, reference) -> float"
    )


def without_reference(rows: Sequence[RawRow], columns: dict[str, list[Any]], prompt: str, named: Sequence[str], source: str) -> str:
    """Why no field can be the reference: none is called like one, or some rows have no value there."""
    if not named:
        return (
            f'{source} has no field that looks like a reference beside "{prompt}": its fields are {listed(columns)}. Name the one with '
            "the right answer with --reference-field"
        )
    field = named[0]
    without = [row.where for row in rows if find(row.values, field) in (None, "")]
    return (
        f'{without[0]} has no value for field "{field}", which looks like the reference; {len(without)} of {len(rows)} rows looked at '
        "have none: fill it in or remove those rows"
    )


def flat_columns(rows: Sequence[RawRow]) -> dict[str, list[Any]]:
    """Field -> its values that are there; fields of inner objects have dotted names."""
    columns: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in flat(row.values):
            if value is not None and value != "":
                columns.setdefault(name, []).append(value)
    return columns


def flat(values: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        yield above + name, value
        if isinstance(value, dict):
            yield from flat(value, f"{above}{name}.")


def by_name(columns: dict[str, list[Any]], names: Sequence[str]) -> list[str]:
    """The fields whose last part is one of the names, in the order of the names, outer fields before inner ones."""
    ranks = {name: rank for rank, name in enumerate(names)}
    known = [name for name in columns if name.rpartition(".")[2].lower() in ranks]
    return sorted(known, key=lambda name: (ranks[name.rpartition(".")[2].lower()], name.count(".")))


def prompts_of(columns: dict[str, list[Any]]) -> Iterator[str]:
    """Fields that may hold the question: by their names, then the text that differs most from row to row."""
    rows = max(map(len, columns.values()), default=0)
    usable = {name: values for name, values in columns.items() if len(values) == rows and all(map(is_question, values))}
    yield from by_name(usable, PROMPT_NAMES)
    left = [name for name in usable if name not in by_name(usable, REFERENCE_NAMES)]
    yield from sorted(left, key=lambda name: -len(set(map(str, usable[name]))) * sum(len(str(value)) for value in usable[name]))


def is_question(value: object) -> bool:
    """Whether a value is text, or a list of messages."""
    return isinstance(value, str) or (
        isinstance(value, list) and bool(value) and all(isinstance(turn, dict) and {"role", "content"} <= set(turn) for turn in value)
    )


def ends_in_answer(prompt: object) -> bool:
    """Whether messages end in the assistant's turn, as those for supervised training do."""
    return isinstance(prompt, list) and prompt[-1]["role"] == "assistant"


def choose_checker(references: Sequence[Any], prompts: Sequence[Any]) -> tuple[str, str] | None:
    """The checker that reads nearly all references, and why; None where none does."""
    for checker, why in suited(references, prompts):
        if sum(usable(checker, reference) for reference in references) >= MOST * len(references):
            return checker, why
    return None


def suited(references: Sequence[Any], prompts: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Checkers for references of this form, the best first."""
    texts = [str(reference) for reference in references if isinstance(reference, str | int | float)]
    if len(texts) < MOST * len(references):
        yield from ((checker, f"the references are objects that `{checker}` reads") for checker in OBJECT_CHECKERS)
        return
    if share(LETTER.fullmatch(text) for text in texts) > MOST and share(OPTIONS.search(str(prompt)) for prompt in prompts) > MOST:
        yield "choice", "the references are letters, and the questions list options"
    if share(text.lstrip().startswith(("{", "[")) for text in texts) > MOST:
        yield from ((checker, f"the references are JSON that `{checker}` reads") for checker in OBJECT_CHECKERS)
    if share("####" in text for text in texts) > MOST:
        yield "math", "the references end in #### and the answer"
    short = [len(WORDS.findall(text)) <= FEW_WORDS for text in texts]
    if share(MATHS.search(text) for text in texts) > MOST and share(short) > MOST:
        yield "math", "the references are numbers or formulas"
    if share(short) > MOST:
        yield "match", "the references are a few words"


def share(found: Any) -> float:
    """The share of true values."""
    values = [bool(each) for each in found]
    return sum(values) / max(1, len(values))


def usable(checker: str, reference: object) -> bool:
    """Whether a checker can compare with a reference."""
    try:
        check_reference(checker, reference)
    except ValueError:
        return False
    return True


def listed(columns: dict[str, list[Any]]) -> str:
    return ", ".join(f'"{name}"' for name in columns) or "none"
