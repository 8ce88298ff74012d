"""A mathematical tree as LaTeX, in one way of the many."""

from collections.abc import Callable
from fractions import Fraction
from functools import singledispatch

from reward.mathematics.nodes import (
    Based,
    Bracketed,
    Builder,
    Call,
    Clock,
    Congruence,
    Constant,
    Family,
    FiniteSet,
    Listing,
    Matrix,
    Node,
    Number,
    NumberSet,
    Percent,
    Ratio,
    Relation,
    SetOperation,
    Symbol,
)  # fmt: skip

CONSTANTS = {"pi": r"\pi", "e": "e", "i": "i", "infinity": r"\infty"}
SQUARE = Number(Fraction(2))
OPERATIONS = {"union": r"\cup", "intersection": r"\cap", "difference": r"\setminus"}
OPERATORS = {"=": "=", "~": r"\approx", "<": "<", ">": ">", "<=": r"\le", ">=": r"\ge", "!=": r"\neq", "in": r"\in"}
ENCLOSED = ("abs", "norm", "floor", "ceil")
NAMED = frozenset(["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos", "arctan", "ln", "exp"])
LETTERS = frozenset(["alpha", "beta", "gamma", "delta", "theta", "lambda", "mu", "nu", "omega", "phi", "psi", "rho", "sigma", "tau"])


class UnwritableError(ValueError):
    """The tree has a part that this module does not write."""


@singledispatch
def written(node: Node) -> str:
    """The LaTeX of a tree; UnwritableError where a part of it has none here."""
    raise UnwritableError(f"{node} has no LaTeX here")


@written.register
def _write_number(node: Number) -> str:
    if not node.places or node.places < 0:
        return str(node.value)
    digits = str(int(node.value * 10**node.places)).zfill(node.places + 1)
    return f"{digits[: -node.places]}.{digits[-node.places :]}"


@written.register
def _write_constant(node: Constant) -> str:
    return CONSTANTS[node.name]


@written.register
def _write_symbol(node: Symbol) -> str:
    if node.name in LETTERS:
        return f"\\{node.name}"
    if node.name.isalpha() and len(node.name) == 1:
        return node.name
    raise UnwritableError(f"the variable {node.name!r} has no LaTeX here")


@written.register
def _write_percent(node: Percent) -> str:
    return rf"{written(node.value)}\%"


@written.register
def _write_bracketed(node: Bracketed) -> str:
    return rf"\left{node.opening} {_joined(node.items, ', ')} \right{node.closing}"


@written.register
def _write_finite_set(node: FiniteSet) -> str:
    return rf"\left\{{ {_joined(node.items, ', ')} \right\}}" if node.items else r"\emptyset"


@written.register
def _write_number_set(node: NumberSet) -> str:
    if not node.name.isalpha():
        raise UnwritableError(f"the set {node.name} has no LaTeX here")
    return rf"\mathbb{{{node.name}}}"


@written.register
def _write_listing(node: Listing) -> str:
    return _joined(node.items, ", ")


@written.register
def _write_builder(node: Builder) -> str:
    return rf"\{{ {written(node.body)} \mid {_joined(node.conditions, ', ')} \}}"


@written.register
def _write_family(node: Family) -> str:
    return f"{written(node.body)}, {_joined(node.conditions, ', ')}"


@written.register
def _write_set_operation(node: SetOperation) -> str:
    return _joined(node.args, f" {OPERATIONS[node.name]} ")


@written.register
def _write_relation(node: Relation) -> str:
    signs = [f" {OPERATORS[one]} " for one in node.operators]
    return "".join(written(one) + sign for one, sign in zip(node.operands, [*signs, ""], strict=True))


@written.register
def _write_congruence(node: Congruence) -> str:
    left = "" if node.left is None else rf"{written(node.left)} \equiv "
    return rf"{left}{written(node.right)} \pmod{{{written(node.modulus)}}}"


@written.register
def _write_matrix(node: Matrix) -> str:
    rows = r" \\ ".join(_joined(row, " & ") for row in node.rows)
    return rf"\begin{{pmatrix}} {rows} \end{{pmatrix}}"


@written.register
def _write_ratio(node: Ratio) -> str:
    return _joined(node.items, ":")


@written.register
def _write_clock(node: Clock) -> str:
    half = rf"\text{{ {node.half}}}" if node.half else ""
    return f"{node.hour}:{node.minute:02}" + (f":{node.second:02}" if node.second else "") + half


@written.register
def _write_based(node: Based) -> str:
    return rf"{node.digits}_{{{node.base}}}"


@written.register
def _write_call(node: Call) -> str:
    name, args = node.name, node.args
    if name in JOINED:
        return JOINED[name](args)
    if name in NAMED and len(args) == 1:
        return rf"\{name}\left( {written(args[0])} \right)"
    if name == "root" and args[1:] == (SQUARE,):
        return rf"\sqrt{{{written(args[0])}}}"
    if (name, len(args)) not in FORMS:
        raise UnwritableError(f"the function {name!r} has no LaTeX here")
    form, write = FORMS[name, len(args)]
    return form.format(write(args[0]), *(written(one) for one in args[1:]))


def _joined(items: tuple[Node, ...], between: str) -> str:
    return between.join(written(item) for item in items)


def _term(node: Node) -> str:
    signed = isinstance(node, Call) and node.name in ("-", "plusminus") and len(node.args) == 1
    return f" {written(node)}" if signed else f" + {written(node)}"


def _factor(node: Node) -> str:
    loose = isinstance(node, Call) and node.name in ("+", "-", "plusminus")
    return rf"\left( {written(node)} \right)" if loose else written(node)


def _base(node: Node) -> str:
    tight = isinstance(node, Number | Symbol | Constant) or (isinstance(node, Call) and node.name in ENCLOSED)
    return written(node) if tight else rf"\left( {written(node)} \right)"


def _sum(terms: tuple[Node, ...]) -> str:
    return written(terms[0]) + "".join(_term(one) for one in terms[1:])


def _product(factors: tuple[Node, ...]) -> str:
    return r" \cdot ".join(_factor(one) for one in factors)


JOINED: dict[str, Callable[[tuple[Node, ...]], str]] = {"+": _sum, "*": _product}
FORMS: dict[tuple[str, int], tuple[str, Callable[[Node], str]]] = {  # by name and number of operands; how the first operand is written
    ("-", 1): ("-{}", _factor),
    ("plusminus", 1): (r"\pm {}", _factor),
    ("/", 2): (r"\frac{{{}}}{{{}}}", written),
    ("^", 2): ("{}^{{{}}}", _base),
    ("root", 2): (r"\sqrt[{1}]{{{0}}}", written),
    ("sqrt", 1): (r"\sqrt{{{}}}", written),
    ("factorial", 1): ("{}!", _base),
    ("degree", 1): (r"{}^{{\circ}}", _base),
    ("binomial", 2): (r"\binom{{{}}}{{{}}}", written),
    ("abs", 1): ("|{}|", written),
    ("norm", 1): (r"\|{}\|", written),
    ("floor", 1): (r"\lfloor {} \rfloor", written),
    ("ceil", 1): (r"\lceil {} \rceil", written),
}
