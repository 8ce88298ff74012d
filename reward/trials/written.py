"""A mathematical tree as LaTeX, in one way of the many."""

from reward.mathematics.nodes import (
    Based, Bracketed, Builder, Call, Clock, Congruence, Constant, Family, FiniteSet, Listing, Matrix, Node, Number, NumberSet, Percent,
    Ratio, Relation, SetOperation, Symbol,
)  # fmt: skip

CONSTANTS = {"pi": r"\pi", "e": "e", "i": "i", "infinity": r"\infty"}
OPERATIONS = {"union": r"\cup", "intersection": r"\cap", "difference": r"\setminus"}
OPERATORS = {"=": "=", "~": r"\approx", "<": "<", ">": ">", "<=": r"\le", ">=": r"\ge", "!=": r"\neq", "in": r"\in"}
ENCLOSED = {"abs": ("|", "|"), "norm": (r"\|", r"\|"), "floor": (r"\lfloor ", r" \rfloor"), "ceil": (r"\lceil ", r" \rceil")}
NAMED = frozenset("sin cos tan cot sec csc sinh cosh tanh coth arcsin arccos arctan ln exp".split())
LETTERS = frozenset("alpha beta gamma delta theta lambda mu nu omega phi psi rho sigma tau".split())


class Unwritable(ValueError):
    """The tree has a part that this module does not write."""


def written(node: Node) -> str:
    """The LaTeX of a tree; Unwritable where a part of it has none here."""
    match node:
        case Number():
            return str(node.value) if node.places is None else f"{float(node.value):.{node.places}f}"
        case Constant():
            return CONSTANTS[node.name]
        case Symbol() if node.name in LETTERS:
            return "\\" + node.name
        case Symbol() if node.name.isalpha() and len(node.name) == 1:
            return node.name
        case Percent():
            return rf"{written(node.value)}\%"
        case Call():
            return _call(node)
        case Bracketed():
            return rf"\left{node.opening} {_joined(node.items, ', ')} \right{node.closing}"
        case FiniteSet():
            return rf"\left\{{ {_joined(node.items, ', ')} \right\}}" if node.items else r"\emptyset"
        case NumberSet() if node.name.isalpha():
            return rf"\mathbb{{{node.name}}}"
        case Listing():
            return _joined(node.items, ", ")
        case _:
            return _structure(node)


def _structure(node: Node) -> str:
    match node:
        case Builder():
            return rf"\{{ {written(node.body)} \mid {_joined(node.conditions, ', ')} \}}"
        case Family():
            return f"{written(node.body)}, {_joined(node.conditions, ', ')}"
        case SetOperation():
            return _joined(node.args, f" {OPERATIONS[node.name]} ")
        case Relation():
            signs = [f" {OPERATORS[one]} " for one in node.operators]
            return "".join(written(one) + sign for one, sign in zip(node.operands, [*signs, ""], strict=True))
        case Congruence():
            left = "" if node.left is None else rf"{written(node.left)} \equiv "
            return rf"{left}{written(node.right)} \pmod{{{written(node.modulus)}}}"
        case Matrix():
            rows = r" \\ ".join(_joined(row, " & ") for row in node.rows)
            return rf"\begin{{pmatrix}} {rows} \end{{pmatrix}}"
        case Ratio():
            return _joined(node.items, ":")
        case Clock():
            half = rf"\text{{ {node.half}}}" if node.half else ""
            return f"{node.hour}:{node.minute:02}" + (f":{node.second:02}" if node.second else "") + half
        case Based():
            return rf"{node.digits}_{{{node.base}}}"
    raise Unwritable(f"{node} has no LaTeX here")


def _joined(items: tuple[Node, ...], between: str) -> str:
    return between.join(written(item) for item in items)


def _call(node: Call) -> str:
    name, args = node.name, node.args
    match name, len(args):
        case "+", _:
            first, *others = args
            return written(first) + "".join(_term(one) for one in others)
        case "-", 1:
            return f"-{_factor(args[0])}"
        case "plusminus", 1:
            return rf"\pm {_factor(args[0])}"
        case "*", _:
            return r" \cdot ".join(_factor(one) for one in args)
        case "/", 2:
            return rf"\frac{{{written(args[0])}}}{{{written(args[1])}}}"
        case "^", 2:
            return rf"{_base(args[0])}^{{{written(args[1])}}}"
        case "root", 2:
            degree = written(args[1])
            return rf"\sqrt{{{written(args[0])}}}" if degree == "2" else rf"\sqrt[{degree}]{{{written(args[0])}}}"
        case "sqrt", 1:
            return rf"\sqrt{{{written(args[0])}}}"
        case "factorial", 1:
            return f"{_base(args[0])}!"
        case "degree", 1:
            return rf"{_base(args[0])}^{{\circ}}"
        case "binomial", 2:
            return rf"\binom{{{written(args[0])}}}{{{written(args[1])}}}"
    if name in ENCLOSED and len(args) == 1:
        opening, closing = ENCLOSED[name]
        return opening + written(args[0]) + closing
    if name in NAMED and len(args) == 1:
        return rf"\{name}\left( {written(args[0])} \right)"
    raise Unwritable(f"the function {name!r} has no LaTeX here")


def _term(node: Node) -> str:
    signed = isinstance(node, Call) and node.name in ("-", "plusminus") and len(node.args) == 1
    return f" {written(node)}" if signed else f" + {written(node)}"


def _factor(node: Node) -> str:
    loose = isinstance(node, Call) and node.name in ("+", "-", "plusminus")
    return rf"\left( {written(node)} \right)" if loose else written(node)


def _base(node: Node) -> str:
    tight = isinstance(node, Number | Symbol | Constant) or (isinstance(node, Call) and node.name in ENCLOSED)
    return written(node) if tight else rf"\left( {written(node)} \right)"
