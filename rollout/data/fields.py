"""Names of fields: dots lead into nested ones, and a field whose own name has dots comes first.

"answer"    "reward_model.ground_truth"    "messages.0.content"    "messages.-1.content"
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from configs.json_cell import from_json

EVERYTHING = "*"  # among the wanted fields: all columns of a columnar dataset
DEPTH = 4  # parts of the names that messages list
SHOWN = 20  # names in a message


def find(values: object, name: str) -> Any:
    """The value of the field `name`, None if there is none. Numbers index lists, negative ones from the end.

    Names lead into text that is JSON too, since cells of a table have no other way to hold objects.
    """
    if isinstance(values, str):
        values = from_json(values)
    if isinstance(values, Mapping):
        if name in values:
            return values[name]
        for head, rest in splits(name):
            if head in values and (found := find(values[head], rest)) is not None:
                return found
        return None
    if isinstance(values, Sequence) and not isinstance(values, str | bytes):
        head, _, rest = name.partition(".")
        if not is_index(head) or not -len(values) <= int(head) < len(values):
            return None
        return find(values[int(head)], rest) if rest else values[int(head)]
    return None


def splits(name: str) -> Iterator[tuple[str, str]]:
    """Every way to split a name at one of its dots, the shortest head first."""
    for place, character in enumerate(name):
        if character == "." and 0 < place < len(name) - 1:
            yield name[:place], name[place + 1 :]


def is_index(part: str) -> bool:
    return part.isascii() and part.removeprefix("-").isdecimal()


def column_of(name: str, columns: Iterable[str]) -> str | None:
    """The column that holds the field: of that very name, or the one that its first parts name. None if there is none."""
    present = set(columns)
    return next((head for head in (name, *(head for head, _ in splits(name))) if head in present), None)


def names_in(value: object, prefix: str = "", depth: int = DEPTH) -> Iterator[str]:
    """The dotted names of every field that has a value; of a list, those of its first entry."""
    if isinstance(value, str) and depth and (spelt := from_json(value)):
        yield from dict.fromkeys((prefix, *names_in(spelt, prefix, depth)))
        return
    if isinstance(value, Mapping) and depth and (prefix == "" or value):
        for key, inner in value.items():
            yield from names_in(inner, f"{prefix}.{key}" if prefix else str(key), depth - 1)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping) and depth:
        yield prefix
        yield from names_in(value[0], f"{prefix}.0", depth - 1)
    elif value is not None and prefix:
        yield prefix


def describe_missing(where: str, name: str, present: Sequence[str]) -> str:
    """A message about a field that has no value: what there is instead, and which of it was probably meant."""
    present = list(dict.fromkeys(present))
    shown = ", ".join(f'"{key}"' for key in present[:SHOWN]) + (f" and {len(present) - SHOWN} more" if len(present) > SHOWN else "")
    near = closest(name, present)
    guess = f"; did you mean {near}?" if near else ""
    advice = "name the right one in prompt_field or reference_field"
    return f'{where} has no value for field "{name}"; it has {shown or "none"}{guess}: {advice}'


def last_part(name: str) -> str:
    return name.rpartition(".")[2].strip().lower()


def closest(name: str, present: Sequence[str]) -> str:
    """The names that are spelt almost like this one, or end like it; empty if there are none."""
    last = last_part(name)
    alike = [key for key in present if last_part(key) == last]
    alike += [key for key in get_close_matches(name, present, 2, 0.75) if key not in alike]
    return " or ".join(f'"{key}"' for key in alike[:3])
