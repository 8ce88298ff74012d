"""Families of values such as "pi/2 + k pi for every whole number k"."""

from collections.abc import Callable
from fractions import Fraction

from mpmath import mp

from reward.mathematics.equations import assigned
from reward.mathematics.evaluate import NoValueError, evaluate, real_or_complex
from reward.mathematics.nodes import Builder, Call, Family, FiniteSet, Listing, Node, NumberSet, Relation, Symbol, is_bound, symbols
from reward.mathematics.rebuild import rebuilt, renamed, with_plusminus
from reward.mathematics.scalar import DIGITS

WHOLE = ("Z", "N")
PARAMETERS = frozenset("knmlj")  # names that mean whole numbers where a response does not say so
NEAR = 1e-25
CLOSE = 1e-20  # of whole numbers of steps


def as_family(node: Node) -> Family | None:
    """A tree as an expression with conditions; None where it is none. {3k | k in Z} and {x | x = 3k, k in Z} are families."""
    match node:
        case Family():
            return node
        case Builder(body, conditions):
            for condition in conditions:
                if (found := assigned(condition)) and found[0] == body:
                    return Family(found[1], tuple(one for one in conditions if one != condition))
            return Family(body, conditions)
        case Listing((body, *rest), ",") if rest and not is_bound(body) and all(is_bound(one) for one in rest):
            return Family(body, tuple(rest))
    parameters = symbols(node) & PARAMETERS
    if len(parameters) != 1:
        return None
    return Family(node, (Relation((Symbol(next(iter(parameters))), NumberSet("Z")), ("in",)),))


def same_family(gold: Family, answer: Family, same: Callable[[Node, Node], bool]) -> bool:
    """Whether both are the same set of values: by steps from a start, or the same expression under the same conditions."""
    name, other = _parameter(gold), _parameter(answer)
    if name and other and name[1] == other[1]:
        steps = [_steps(gold.body, name[0]), _steps(answer.body, other[0])]
        if name[1] == "Z" and steps[0] is not None and steps[1] is not None:
            return _same_steps(steps[0], steps[1])
        if (name[0] in symbols(gold.body)) != (other[0] in symbols(answer.body)):
            return False
        return same(_value(gold.body), _value(renamed(answer.body, other[0], name[0])))
    if len(gold.conditions) != len(answer.conditions) or not same(gold.body, answer.body):
        return False
    return all(any(same(one, each) for each in answer.conditions) for one in gold.conditions)


def _parameter(family: Family) -> tuple[str, str] | None:
    """The one variable of a family that stands for whole numbers, and its number set."""
    if len(family.conditions) != 1:
        return None
    (condition,) = family.conditions
    if not (isinstance(condition, Relation) and condition.operators == ("in",)):
        return None
    variable, domain = condition.operands
    if isinstance(variable, Symbol) and isinstance(domain, NumberSet) and domain.name[0] in WHOLE:
        return variable.name, domain.name
    return None


def _value(node: Node) -> Node:
    found = assigned(node)
    return node if found is None else found[1]


def _steps(body: Node, name: str) -> list[tuple[object, object]] | None:
    """The start and step of every value of a body that is linear in the parameter; None for other bodies."""
    body = _value(body)
    if isinstance(body, Listing | FiniteSet):
        parts = [_steps(item, name) for item in body.items]
        return None if None in parts else [step for part in parts if part is not None for step in part]
    if (both := with_plusminus(body)) is not None:
        parts = [_steps(one, name) for one in both]
        return None if None in parts else [step for part in parts if part is not None for step in part]
    if symbols(body) != {name}:
        return None
    with mp.workdps(DIGITS):
        try:
            at = [real_or_complex(evaluate(_plain_degree(body), {name: Fraction(k)})) for k in (0, 1, 2, 5)]
        except NoValueError:
            return None
        step = at[1] - at[0]
        if step == 0 or any(
            abs(value - at[0] - k * step) > NEAR * (abs(value) + abs(step)) for k, value in zip((0, 1, 2, 5), at, strict=True)
        ):
            return None
        return [(at[0], step)]


def _plain_degree(node: Node) -> Node:
    return rebuilt(node, lambda one: _plain_degree(one.args[0]) if isinstance(one, Call) and one.name == "degree" else None)


def _same_steps(gold: list[tuple[object, object]], answer: list[tuple[object, object]]) -> bool:
    """Whether each sequence of the one is a sequence of the other."""
    return all(any(_same_sequence(a, b) for b in answer) for a in gold) and all(any(_same_sequence(a, b) for a in gold) for b in answer)


def _same_sequence(gold: tuple[object, object], answer: tuple[object, object]) -> bool:
    with mp.workdps(DIGITS):
        turns = (mp.mpc(gold[0]) - mp.mpc(answer[0])) / mp.mpc(gold[1])
        steps = mp.mpc(gold[1]) / mp.mpc(answer[1])
        whole = abs(turns - mp.nint(mp.re(turns))) < CLOSE * (1 + abs(turns))
        return bool(whole and abs(abs(steps) - 1) < CLOSE and abs(mp.im(steps)) < CLOSE)
