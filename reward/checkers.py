"""Which checkers there are: each a pure function that says how right a response is, by its name.

A checker is `(response, reference) -> reward`. It needs no time limit of its own and may raise: `reward.pool` turns what
goes wrong into a typed failure. A name of the form "package.module:function" is a user's own function.
"""

import difflib
import importlib
import inspect
import json
from collections.abc import Callable
from typing import Any

from reward.exact import check_exact, reference_text
from reward.mathematics import check_math

Checker = Callable[[str, Any], float]

CHECKERS: dict[str, Checker] = {"exact": check_exact, "math": check_math}

# (response, reference) that makes a checker import and compile what it needs, before a deadline counts
WARM_UP: dict[str, tuple[str, str]] = {"math": (r"\boxed{\frac{1}{2}}", "0.5")}


def get_checker(name: str) -> Checker:
    """The checker of that name or import path; ValueError says which there are, or why the path is none."""
    if name in CHECKERS:
        return CHECKERS[name]
    if ":" in name:
        return _import_checker(name)
    near = difflib.get_close_matches(name, CHECKERS, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown checker {name!r}: use one of {', '.join(sorted(CHECKERS))} or 'package.module:function'{hint}")


def load_checker(name: str) -> Checker:
    """The checker of that name, with all it needs already imported."""
    checker = get_checker(name)
    if name in WARM_UP:
        checker(*WARM_UP[name])
    return checker


def check_reference(name: str, reference: object) -> None:
    """Raise ValueError when the checker of that name cannot compare with this reference, whatever the response."""
    try:
        if name in CHECKERS:
            reference_text(reference)
        else:
            get_checker(name)
            json.dumps(reference)
    except (TypeError, ValueError) as error:
        raise ValueError(f"checker {name!r}: {error}") from error


def _import_checker(path: str) -> Checker:
    module_name, _, function_name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except Exception as error:  # a user's module may fail to import in any way
        raise ValueError(f"checker {path!r} does not import: {type(error).__name__}: {error}") from error
    try:
        inspect.signature(function).bind("response", "reference")
    except (TypeError, ValueError) as error:
        raise ValueError(f"checker {path!r} must be a function of (response, reference): {error}") from error
    checker: Checker = function
    return checker
