"""math_verify with its error handlers mended, so that "out of memory" and "nested too deeply" pass through them.

math_verify and its LaTeX reader have `except Exception: pass` in two dozen places, so a right answer would silently be wrong when memory is
short. Here the three modules are compiled again from their source, with a handler before each of these that raises MemoryError and
RecursionError again. Other code that imports math_verify gets the original modules.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

READER = "latex2sympy2_extended.latex2sympy2"
MODULES = (READER, "math_verify.grader", "math_verify.parser")  # each imports those before it
BLIND = ("Exception", "BaseException")


class _Mend(ast.NodeTransformer):
    def visit_Try(self, node: ast.Try) -> ast.Try:
        self.generic_visit(node)
        blind = [i for i, handler in enumerate(node.handlers) if handler.type is None or ast.unparse(handler.type) in BLIND]
        if blind:
            raise_again = ast.parse("try: pass\nexcept (MemoryError, RecursionError): raise").body[0]
            assert isinstance(raise_again, ast.Try)
            node.handlers[blind[0] : blind[0]] = raise_again.handlers
        return node


def _mended(name: str) -> ModuleType:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    with open(spec.origin, encoding="utf-8") as source:
        tree = ast.fix_missing_locations(_Mend().visit(ast.parse(source.read())))
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    exec(compile(tree, spec.origin, "exec"), module.__dict__)
    return module


@cache
def load() -> tuple[Callable[..., list[Any]], Callable[..., bool]]:
    """math_verify's `parse` and `verify`, mended; takes a second at the first call, because of sympy."""
    importlib.import_module("math_verify")
    from sympy import Unequality

    theirs = {name: sys.modules[name] for name in MODULES}
    try:
        _, grader, parser = (_mended(name) for name in MODULES)
    finally:
        sys.modules.update(theirs)
    for module in (grader, parser):  # it warns that there is no time limit: reward.workers.pool has one
        module.__dict__["TIMEOUT_WARNING_SHOWN"] = True
    grader.__dict__["INVERSE_RELATIONS"][Unequality] = (
        Unequality  # missing in the library, which raises KeyError when it compares "x > 3" with an unequal sign
    )
    return parser.parse, grader.verify
