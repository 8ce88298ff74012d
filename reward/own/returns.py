"""Whether an environment can return a number at all: one that only yields ends where no turn is left, whatever the model does."""

import dis
import functools
import inspect
from collections.abc import Callable, Iterable
from itertools import pairwise
from types import CodeType
from typing import Any

NEVER_RETURNS = "never returns"  # what a pool says of such an environment


def never_returns(layers: Iterable[Callable[..., object]]) -> bool:
    """Whether no generator function among these layers of a function has a `return` with a value."""
    codes = [code_of(one) for one in layers if inspect.isgeneratorfunction(one)]
    return bool(codes) and not any(map(returns_a_value, codes))


def code_of(function: Any) -> CodeType:
    """The code of a generator function, also of a method and of what `functools.partial` calls."""
    while isinstance(function, functools.partial):
        function = function.func
    code: CodeType = function.__code__
    return code


def returns_a_value(code: CodeType) -> bool:
    """Whether a function has a `return` of anything but None."""
    for before, last in pairwise(dis.get_instructions(code)):
        if last.opname == "RETURN_VALUE" and not (before.opname == "LOAD_CONST" and before.argval is None):
            return True
        if last.opname == "RETURN_CONST" and last.argval is not None:
            return True
    return False
