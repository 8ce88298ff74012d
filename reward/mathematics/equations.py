"""Equations and inequalities: the value that one assigns, and whether two say the same."""

from dataclasses import replace
from fractions import Fraction

from mpmath import mp

from reward.mathematics.evaluate import NoValueError, evaluate, real_or_complex
from reward.mathematics.nodes import Bracketed, Call, Constant, Node, Number, Percent, Ratio, Relation, Symbol, children, symbols
from reward.mathematics.scalar import ALMOST, DIGITS, ENOUGH, has_decimals, points, same_value

ROUGHLY, ROUNDED = 0.05, 0.005  # relative error of what "≈" joins, and of a decimal behind "="
OPPOSITE = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "=", "!=": "!=", "~": "="}
NAMES = frozenset({"abs", "norm", "sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "det", "max", "min", "arg", "Re", "Im"})


def assigned(node: Node) -> tuple[Node | None, Node] | None:
    """The name and the value of "x = 3", "f(x) = 2x = x + x" or "1 + 1 = 2"; None for every other tree.

    Of "x = 1/3 ~ 0.33" the value is 1/3: what is exact comes first. The name is None where all operands are numbers.
    """
    if not isinstance(node, Relation) or not set(node.operators) <= {"=", "~"}:
        return None
    first, last = node.operands[0], node.operands[-1]
    about = node.operators.index("~") if "~" in node.operators else len(node.operators)
    if not consistent(node):
        return None
    if is_name(first):
        value = node.operands[about] if about else last
        return None if is_implicit(first, value) else (first, value)
    if symbols(first):
        return None
    if len(node.operators) == 1 and is_name(last) and symbols(last):
        return last, first  # "5 = x"
    return None if any(symbols(operand) for operand in node.operands) else (None, node.operands[about])


def is_implicit(name: Node, value: Node) -> bool:
    """Whether an equation gives its left side by what the left side is about: "dy/dx = k y", "y' = y", "x = 2x - 1"."""
    if not isinstance(name, Symbol):
        return False
    about = {name.name, name.name.rstrip("'"), *(name.name.split(" ")[1:2] if name.name.startswith("derivative ") else ())}
    return bool(about & symbols(value))


def consistent(node: Relation) -> bool:
    """Whether the numbers of a chain agree: exactly where "=" joins them, roughly where an approximation does."""
    numbers = [operand for operand in node.operands if is_expression(operand) and not symbols(operand) and not has_unknown(operand)]
    if len(numbers) <= 1:
        return True
    try:
        with mp.workdps(DIGITS):
            values = [real_or_complex(evaluate(number, {})) for number in numbers]
    except NoValueError:
        return True
    largest = max(abs(value) for value in values)
    error = ROUGHLY if "~" in node.operators else ROUNDED if any(has_decimals(number) for number in numbers) else ALMOST
    return bool(not mp.isfinite(largest) or all(abs(value - values[0]) <= error * largest for value in values))


def has_unknown(node: Node) -> bool:
    """Whether an unknown function stands in the tree: f(2)."""
    return (isinstance(node, Call) and node.name.startswith(("apply ", "inverse "))) or any(has_unknown(child) for child in children(node))


def is_name(node: Node) -> bool:
    """Whether a tree can be the left side of an assignment: a variable, f(x), (x, y), AB, P(A), P(X = 2), sin A, |AB|, a : b."""
    named = False
    match node:
        case Symbol() | Relation():
            named = True
        case Bracketed(items=items):
            named = bool(items) and all(isinstance(item, Symbol) for item in items)
        case Call(name, args) if name in NAMES or name.startswith("apply "):
            named = name not in NAMES or (bool(symbols(node)) and all(is_name(arg) for arg in args))
        case Ratio(items):
            named = all(is_name(item) for item in items)
        case Call("*" | "/", args):
            named = all(is_name(arg) for arg in args) and leading(node).isupper()
    return named


def is_combination(node: Relation) -> bool:
    """Whether a relation gives a sum, product or quotient of unknowns its value, as "m + n = 7" does; "2x + 4y = 3" is an equation."""
    left, right = node.operands[0], node.operands[-1]
    return node.operators == ("=",) and not symbols(right) and right != Number(Fraction(0)) and _combines(left)


def _combines(node: Node) -> bool:
    match node:
        case Symbol():
            return True
        case Call("^", (base, Number())):
            return _combines(base)
        case Call("+" | "*" | "/" | "-", args):
            return all(_combines(arg) for arg in args)
    return False


def leading(node: Node) -> str:
    """The first letter of a product."""
    while children(node):
        node = children(node)[0]
    return node.name[:1] if isinstance(node, Symbol) else ""


def same_relation(gold: Relation, answer: Relation) -> bool:
    """Whether two relations hold for the same values: operand by operand in either direction, or by a factor between their differences."""
    turned = replace(answer, operands=answer.operands[::-1], operators=tuple(OPPOSITE.get(sign, sign) for sign in answer.operators[::-1]))
    if any(_same_chain(gold, one) for one in (answer, turned)):
        return True
    if len(gold.operators) != 1 or len(answer.operators) != 1 or "in" in gold.operators + answer.operators:
        return False
    return _same_difference(gold, answer)


def _same_chain(gold: Relation, answer: Relation) -> bool:
    return gold.operators == answer.operators and all(
        is_expression(a) and is_expression(b) and same_value(a, b) for a, b in zip(gold.operands, answer.operands, strict=True)
    )


def is_expression(node: Node) -> bool:
    """Whether a tree is an expression, with a value at every point."""
    return isinstance(node, Call | Symbol | Constant | Percent | Number)


def _same_difference(gold: Relation, answer: Relation) -> bool:
    """Whether left minus right of one is a constant times that of the other; a negative factor turns an inequality."""
    if symbols(gold) != symbols(answer) or not symbols(gold):
        return False
    first, second = (Call("+", (one.operands[0], Call("-", (one.operands[1],)))) for one in (gold, answer))
    ratios = []
    with mp.workdps(DIGITS):
        for point in points(tuple(sorted(symbols(gold)))):
            try:
                top, bottom = (real_or_complex(evaluate(one, point)) for one in (first, second))
            except NoValueError:
                continue
            if top == 0 or bottom == 0 or not mp.isfinite(top) or not mp.isfinite(bottom):
                return False
            ratios.append(top / bottom)
        if len(ratios) < ENOUGH or any(abs(ratio - ratios[0]) > ALMOST * abs(ratios[0]) for ratio in ratios):
            return False
        sign = gold.operators[0].replace("~", "=")
        expected = answer.operators[0].replace("~", "=")
        if sign in ("=", "!="):
            return expected == sign
        if abs(mp.im(ratios[0])) > ALMOST * abs(ratios[0]):
            return False
        return sign == (expected if mp.re(ratios[0]) > 0 else OPPOSITE[expected])
