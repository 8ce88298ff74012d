"""Whether two amounts are equal: values, percentages, ratios, remainders, times of day, digits in a base."""

from fractions import Fraction

from reward.mathematics.equations import assigned, is_expression
from reward.mathematics.evaluate import NoValueError, evaluate
from reward.mathematics.nodes import Based, Call, Clock, Congruence, Node, Number, Percent, Ratio
from reward.mathematics.scalar import same_value

PAIR = 2  # terms of a ratio that is a quotient
LEAST_TERM = 10  # minutes from which "5:12" may be a ratio; "5:02" is a time


def same_amount(gold: Node, answer: Node) -> bool:
    """Whether two expressions have the same value; 50 % is 0.5 and, against a number that is no proper fraction, 50."""
    pairs, shares = [(gold, answer)], (share_of(gold), share_of(answer))
    if (shares[0] is None) != (shares[1] is None) and not any(is_proper_fraction(one) for one in (gold, answer)):
        pairs.append((shares[0] or gold, shares[1] or answer))
    for first, second in pairs:
        try:
            if same_value(first, second):
                return True
        except NoValueError:
            continue
    return False


def share_of(node: Node) -> Node | None:
    """The number before a percent sign, with its minus; None for every other tree."""
    if isinstance(node, Percent):
        return node.value
    if isinstance(node, Call) and node.name == "-" and (share := share_of(node.args[0])) is not None:
        return Call("-", (share,))
    return None


def is_proper_fraction(node: Node) -> bool:
    """Whether a node is a quotient of whole numbers below 1, perhaps negative."""
    match node:
        case Call("-", (negated,)):
            return is_proper_fraction(negated)
        case Call("/", (Number(top, None), Number(bottom, None))):
            return abs(top) < abs(bottom)
    return False


def same_congruence(gold: Node, answer: Node) -> bool:
    """The same remainder by the same modulus; the name before it may be left out."""
    if not (isinstance(gold, Congruence) and isinstance(answer, Congruence)):
        return False
    if gold.left and answer.left and gold.left != answer.left:
        return False
    try:
        modulus, other, right, left = (evaluate(node, {}) for node in (gold.modulus, answer.modulus, gold.right, answer.right))
    except (NoValueError, KeyError):
        return (gold.right, gold.modulus) == (answer.right, answer.modulus)
    whole = all(isinstance(value, Fraction) and value.denominator == 1 for value in (modulus, other, right, left))
    return whole and modulus == other != 0 and (right - left) % modulus == 0


def same_ratio(gold: Node, answer: Node) -> bool:
    """Terms in the same proportion; a ratio of two is also their quotient."""
    if isinstance(gold, Ratio) and isinstance(answer, Ratio):
        if len(gold.items) != len(answer.items):
            return False
        pairs = list(zip(gold.items, answer.items, strict=True))
        return all(same_amount(Call("*", (a, pairs[0][1])), Call("*", (b, pairs[0][0]))) for a, b in pairs)
    ratio, other = (gold, answer) if isinstance(gold, Ratio) else (answer, gold)
    if assignment := assigned(other):
        return same_ratio(gold, assignment[1]) if other is answer else same_ratio(assignment[1], answer)
    return isinstance(ratio, Ratio) and len(ratio.items) == PAIR and is_expression(other) and same_amount(Call("/", ratio.items), other)


def same_clock(gold: Node, answer: Node) -> bool:
    """The same time of day; one that does not say which half of the day agrees with both."""
    if isinstance(gold, Clock) and isinstance(answer, Clock):
        first, second = _seconds(gold), _seconds(answer)
        if gold.half and answer.half:
            return first == second
        halves = bool(gold.half) != bool(answer.half)
        return first == second or (halves and (gold.hour, gold.minute, gold.second) == (answer.hour, answer.minute, answer.second))
    clock, other = (gold, answer) if isinstance(gold, Clock) else (answer, gold)
    assert isinstance(clock, Clock)
    if assignment := assigned(other):
        other = assignment[1]
    if isinstance(other, Ratio) and not clock.half and clock.minute:
        return same_ratio(Ratio((_number(clock.hour), _number(clock.minute))), other)
    if clock.minute >= LEAST_TERM and not clock.half and not clock.second and isinstance(other, Call):
        return same_ratio(Ratio((_number(clock.hour), _number(clock.minute))), other)
    return clock.minute == clock.second == 0 and isinstance(other, Number) and other.value == clock.hour


def _number(value: int) -> Node:
    return Number(Fraction(value))


def _seconds(clock: Clock) -> int:
    hour = clock.hour % 12 + (12 if clock.half == "pm" else 0) if clock.half else clock.hour
    return (hour * 60 + clock.minute) * 60 + clock.second


def same_based(gold: Node, answer: Node) -> bool:
    """The same number, each in its base; digits without a base are in the reference's."""
    if isinstance(gold, Based) and isinstance(answer, Based):
        return int(gold.digits, gold.base) == int(answer.digits, answer.base)
    based, other = (gold, answer) if isinstance(gold, Based) else (answer, gold)
    assert isinstance(based, Based)
    if assignment := assigned(other):
        other = assignment[1]
    if not isinstance(other, Number) or other.places is not None or not based.digits.isdigit():
        return False
    return int(based.digits) == other.value
