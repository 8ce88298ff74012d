"""Vectors as lists of their entries, however they are written: as a column, in brackets, or by the unit vectors i, j and k."""

from fractions import Fraction

from reward.mathematics.nodes import Bracketed, Matrix, Node, Number, Symbol, symbols
from reward.mathematics.rebuild import rebuilt

UNITS = ("bold i", "bold j", "bold k")


def as_tuple(node: Node, size: int) -> Node:
    """A column, a row or a sum of unit vectors as a tuple of so many entries; every other tree as it is."""
    if isinstance(node, Matrix):
        cells = [cell for row in node.rows for cell in row]
        flat = len(node.rows) == 1 or len(node.rows[0]) == 1
        return Bracketed("(", tuple(cells), ")") if flat and len(cells) == size else node
    if size <= len(UNITS) and symbols(node) & set(UNITS) and not symbols(node) & set(UNITS[size:]):
        return Bracketed("(", tuple(along(node, unit) for unit in UNITS[:size]), ")")
    return node


def along(node: Node, unit: str) -> Node:
    """The entry of a sum of unit vectors along one of them."""
    values = {one: Number(Fraction(one == unit)) for one in UNITS}
    return rebuilt(node, lambda one: values.get(one.name) if isinstance(one, Symbol) else None)
