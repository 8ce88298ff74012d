"""The checker for instructions that can be verified, in the vocabulary of IFEval, so that its datasets work as they are."""

import difflib
from collections.abc import Iterator
from typing import Any

from reward.form.constraints import CONSTRAINTS, KINDS, Constraint
from reward.form.options import read_options
from reward.given import given, without_nulls

Instruction = tuple[Constraint, dict[str, Any]]


def read_instructions(reference: object) -> tuple[list[Instruction], bool, bool]:
    """The instructions, whether all must be followed, and whether the loose rule holds.

    The reference is a list of {"id": ..., arguments}, or a table with `instruction_id_list`, `kwargs`, `strict`, `loose`, where an
    argument that is null is not given; ValueError when an id is unknown or its arguments are not what it needs.
    """
    reference = given(reference)
    if isinstance(reference, list):
        asked, options = list(_items(reference)), {}
    else:
        known = {"instruction_id_list": (list,), "kwargs": (list,), "strict": (bool,), "loose": (bool,)}
        options = read_options(reference, known, needed=("instruction_id_list", "kwargs"))
        ids, arguments = options["instruction_id_list"], options["kwargs"]
        if len(ids) != len(arguments):
            raise ValueError(f"kwargs must be as many as instruction_id_list, one for each: got {len(arguments)} for {len(ids)}")
        asked = list(zip(ids, arguments, strict=True))
    if not asked:
        raise ValueError("reference must give at least one instruction, got none")
    return [_instruction(*one) for one in asked], options.get("strict", False), options.get("loose", False)


def _items(reference: list[Any]) -> Iterator[tuple[Any, Any]]:
    for item in reference:
        if not isinstance(item, dict) or "id" not in item:
            raise ValueError(f"an instruction must be a table with its id and arguments, got {item!r:.200}")
        yield item["id"], {name: value for name, value in item.items() if name != "id"}


def _instruction(name: object, kwargs: object) -> Instruction:
    """The instruction of that id with its arguments; ValueError says which argument is wrong."""
    if not isinstance(name, str) or name not in CONSTRAINTS:
        near = difflib.get_close_matches(str(name), CONSTRAINTS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown instruction {name!r}: use one of {', '.join(CONSTRAINTS)}{hint}")
    kwargs = given(kwargs)
    if not isinstance(kwargs, dict | None):
        raise ValueError(f"{name}: kwargs must be a table of arguments, got {kwargs!r:.200}")
    constraint = CONSTRAINTS[name]
    arguments: dict[str, Any] = without_nulls(kwargs or {})
    needs = ", ".join(constraint.needs) or "no arguments"
    if missing := [key for key in constraint.needs if key not in arguments]:
        raise ValueError(f"{name} lacks {', '.join(missing)} in its kwargs: it needs {needs}, got {arguments!r:.200}")
    if strange := [key for key in arguments if key not in constraint.needs]:
        raise ValueError(f"{name} does not know {', '.join(map(repr, strange))} in its kwargs: it needs {needs}")
    for key, kind in constraint.needs.items():
        described, fits = KINDS[kind]
        if not fits(arguments[key]):
            raise ValueError(f"{name}: {key} must be {described}, got {arguments[key]!r:.200}")
    if arguments.get("nth_paragraph", 0) > arguments.get("num_paragraphs", float("inf")):
        raise ValueError(f"{name}: nth_paragraph must be at most num_paragraphs, got {arguments}")
    return constraint, arguments


def instructions_reference(reference: object) -> None:
    """ValueError when the reference gives no instructions that can be verified."""
    read_instructions(reference)


def check_instructions(response: str, reference: object) -> float:
    """The share of instructions that are followed; with `strict` 1.0 when all are, else 0.0. An empty response follows none.

    With `loose`, IFEval's loose rule: an instruction is followed if it is by the response without its first line, without its last, or
    without asterisks, in any combination.
    """
    instructions, strict, loose = read_instructions(reference)
    variants = [text for text in (loosened(response) if loose else [response]) if text.strip()]
    followed = sum(any(constraint.follows(text, **arguments) for text in variants) for constraint, arguments in instructions)
    share = followed / len(instructions)
    return float(share == 1) if strict else share


def loosened(response: str) -> list[str]:
    """The response, without its first line, its last line, both; and each of these without asterisks."""
    rows = response.split("\n")
    cut = ["\n".join(part).strip() for part in (rows[1:], rows[:-1], rows[1:-1])]
    texts = [response, *cut]
    return list(dict.fromkeys(texts + [text.replace("*", "") for text in texts]))
