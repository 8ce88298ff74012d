"""The options that a reference in the form of a table may give."""

import difflib
from collections.abc import Mapping
from typing import Any

Kinds = tuple[type, ...]
WORDS = {str: "a text", bool: "true or false", int: "a whole number", float: "a number", list: "a list", dict: "a table"}


def read_options(reference: object, known: Mapping[str, Kinds], needed: tuple[str, ...] = ()) -> dict[str, Any]:
    """The reference as a table whose keys are known and whose values are of the kinds given; ValueError says what is wrong."""
    if not isinstance(reference, dict):
        raise ValueError(f"reference must be a table with {', '.join(known)}, got {reference!r:.200} ({type(reference).__name__})")
    for key, value in reference.items():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"reference has an unknown key {key!r}: use {', '.join(known)}{hint}")
        if type(value) not in known[key]:
            kinds = " or ".join(dict.fromkeys(WORDS[kind] for kind in known[key]))
            raise ValueError(f"{key} must be {kinds}, got {value!r:.200} ({type(value).__name__})")
    if missing := [key for key in needed if key not in reference]:
        raise ValueError(f"reference lacks {', '.join(missing)}: got {reference!r:.200}")
    return reference
