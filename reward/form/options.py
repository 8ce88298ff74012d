"""The options that a reference in the form of a table may give."""

import difflib
from collections.abc import Mapping
from typing import Any

from configs.json_cell import BEGINS, from_json, why_not_json
from reward.given import given

Kinds = tuple[type, ...]
WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


def read_options(reference: object, known: Mapping[str, Kinds], needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The reference as a table whose keys are known and whose values are of the kinds given; ValueError says what is wrong.

    A key that is null is not given. A JSON text may stand for the table, and for a list or a table in it.
    """
    found = given(reference)
    if not isinstance(found, dict):
        kind = why_not_json(found) if isinstance(found, str) and found.lstrip().startswith(BEGINS) else type(found).__name__
        raise ValueError(f"reference must be a table with {', '.join(known)}, got {found!r:.200} ({kind})")
    options = {key: _read(value, known.get(key, ())) for key, value in found.items()}
    for key, value in options.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"reference has an unknown key {key!r}: use {', '.join(known)}{hint}")
        if type(value) not in known[key]:
            kinds = " or ".join(dict.fromkeys(WORDS[kind] for kind in known[key]))
            raise ValueError(f"{key} must be {kinds}, got {value!r:.200} ({type(value).__name__})")
    if missing := [key for key in needed if key not in options]:
        raise ValueError(f"reference lacks {', '.join(missing)}: got {reference!r:.200}")
    return options


def _read(value: object, kinds: Kinds) -> object:
    """A value; of a text where only a list or a table may stand, what it spells out."""
    if not isinstance(value, str) or str in kinds:
        return value
    found = from_json(value)
    return value if found is None else found
