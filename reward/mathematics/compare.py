"""Whether two answers mean the same mathematics."""

from collections.abc import Callable

from mpmath import mp

from reward.mathematics.amounts import same_amount, same_based, same_clock, same_congruence, same_ratio
from reward.mathematics.equations import assigned, is_combination, is_expression, same_relation
from reward.mathematics.families import as_family, same_family
from reward.mathematics.nodes import (
    Based,
    Bracketed,
    Builder,
    Call,
    Clock,
    Congruence,
    Family,
    FiniteSet,
    Listing,
    Matrix,
    Node,
    NumberSet,
    Ratio,
    Relation,
    SetOperation,
    Symbol,
    children,
    symbols,
)  # fmt: skip
from reward.mathematics.real_sets import RealSet, real_set, same_set, union
from reward.mathematics.rebuild import renamed, with_plusminus, without_degree
from reward.mathematics.scalar import DIGITS, same_value
from reward.mathematics.vectors import as_tuple

MOST_ITEMS = 200
INTERVAL = 2  # ends
RANGES = (SetOperation, Builder, NumberSet, Relation)  # trees that mean sets of numbers by themselves


def same_answer(gold: Node, answer: Node) -> bool:
    """Whether the answer means what the reference means."""
    gold, answer = without_degree(gold), without_degree(answer)
    if gold == answer or (isinstance(gold, NumberSet) and answer == Symbol(gold.name)):
        return True
    if isinstance(gold, Listing) and len(gold.items) > MOST_ITEMS:
        return False
    for kind, compare in SPECIAL:
        if isinstance(gold, kind) or isinstance(answer, kind):
            return compare(gold, answer)
    if (both := _as_sets(gold, answer)) is not None:
        return both
    if isinstance(gold, Relation) or isinstance(answer, Relation):
        return _same_relations(gold, answer)
    return _same_structure(gold, answer)


def _same_structure(gold: Node, answer: Node) -> bool:
    """Lists, sets, tuples and numbers."""
    for one, other in ((gold, answer), (answer, gold)):
        if isinstance(one, Bracketed) and isinstance(other, Listing) and (turned := _tuple_of(other, len(one.items))):
            return same_answer(one, Bracketed("(", turned, ")"))
    if isinstance(gold, Builder) and isinstance(answer, Builder):
        return _same_families(gold, answer)
    if isinstance(gold, Bracketed) or isinstance(answer, Bracketed):
        return _same_brackets(gold, answer)
    if _several(gold) or _several(answer):
        return _same_items(_items(gold), _items(answer))
    if isinstance(gold, SetOperation) and isinstance(answer, SetOperation) and gold.name == answer.name != "difference":
        return _same_items(_joined(gold), _joined(answer))
    half_matrix = isinstance(gold, Matrix) != isinstance(answer, Matrix) and not (_has_matrix(gold) and _has_matrix(answer))
    comparable = not half_matrix and not isinstance(gold, RANGES) and not isinstance(answer, RANGES)
    return comparable and same_amount(gold, answer)


def _joined(node: Node, name: str = "") -> list[Node]:
    """The sets that a union or intersection joins, in no order."""
    if not isinstance(node, SetOperation) or (name and node.name != name):
        return [node]
    return [one for arg in node.args for one in _joined(arg, node.name)]


def _has_matrix(node: Node) -> bool:
    return isinstance(node, Matrix) or any(_has_matrix(child) for child in children(node))


def _same_brackets(gold: Node, answer: Node) -> bool:
    size = len(gold.items if isinstance(gold, Bracketed) else answer.items)  # type: ignore[union-attr]
    gold, answer = (Bracketed("(", one.items, ")") if isinstance(one, FiniteSet) else as_tuple(one, size) for one in (gold, answer))
    if not (isinstance(gold, Bracketed) and isinstance(answer, Bracketed)):
        return False
    pairs = [(one.opening, one.closing) for one in (gold, answer)]
    lists = len(gold.items) > INTERVAL and {("(", ")"), ("[", "]")}.issuperset(pairs)  # "[1, 2, 3]" is no interval
    if not (lists or pairs[0] == pairs[1]) or len(gold.items) != len(answer.items):
        return False
    return all(same_answer(a, b) for a, b in zip(gold.items, answer.items, strict=True))


def _tuple_of(listing: Listing, size: int) -> tuple[Node, ...]:
    """The values of "x = 1, y = 2" in the order of the names; empty where the list is something else."""
    pairs = [assigned(item) for item in listing.items]
    if len(pairs) != size or listing.joint == "or":
        return ()
    named = [(pair[0].name, pair[1]) for pair in pairs if pair and isinstance(pair[0], Symbol)]
    if len({name for name, _ in named}) != size:
        return ()
    return tuple(value for _, value in sorted(named, key=lambda pair: pair[0]))


def _several(node: Node) -> bool:
    return isinstance(node, Listing | FiniteSet) or with_plusminus(node) is not None


def _items(node: Node) -> list[Node]:
    """The values of a list or set, or of an expression with plus or minus; one value by itself."""
    if isinstance(node, Listing | FiniteSet):
        return [value for item in node.items for value in _items(item)]
    both = with_plusminus(node)
    return [node] if both is None else [value for one in both for value in _items(one)]


def _same_items(gold: list[Node], answer: list[Node]) -> bool:
    """Whether every value of each is one of the other's."""
    if max(len(gold), len(answer)) > MOST_ITEMS:
        return False
    matched = set()
    for item in answer:
        found = [place for place, one in enumerate(gold) if same_answer(one, item)]
        if not found:
            return False
        matched.update(found)
    return len(matched) == len(gold)


def _as_sets(gold: Node, answer: Node) -> bool | None:
    """Whether both are the same set of numbers; None where one of them is no such set by itself."""
    if not (_is_range(gold) or _is_range(answer)):
        return None
    with mp.workdps(DIGITS):
        first, second = (_set_of(node) for node in (gold, answer))
        if first is not None and second is not None:
            return same_set(first, second) and _same_variable(gold, answer)
        return None if isinstance(gold, Relation) or isinstance(answer, Relation) or first is second is None else False


def _is_range(node: Node) -> bool:
    """Whether a tree means a set of numbers whatever it is compared with."""
    if isinstance(node, Relation):
        return assigned(node) is None and len(symbols(node)) == 1
    if isinstance(node, Listing):
        return any(_is_range(item) for item in node.items)
    return isinstance(node, SetOperation | Builder | NumberSet)


def _set_of(node: Node) -> RealSet | None:
    if isinstance(node, Listing) and not any(isinstance(item, Relation) for item in node.items):
        sets = [real_set(item) for item in node.items]
        known = [one for one in sets if one is not None]
        return union(known) if len(known) == len(sets) else None
    return real_set(node)


def _same_variable(gold: Node, answer: Node) -> bool:
    """Whether two inequalities are about the same variable; an interval is about any."""
    if not isinstance(gold, Relation | Listing) or not isinstance(answer, Relation | Listing):
        return True
    names = symbols(gold), symbols(answer)
    return not all(names) or names[0] == names[1]


def _same_relations(gold: Node, answer: Node) -> bool:
    """An equation or inequality against another, or against the value that it assigns."""
    first, second = assigned(gold), assigned(answer)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        if first and second:
            return _same_assignment(first, second) or same_relation(gold, answer)
        return same_relation(gold, answer)
    if isinstance(gold, Relation):
        value = first[1] if first else _container(gold)
        return value is not None and same_answer(value, answer)
    if isinstance(answer, Relation):
        if not symbols(gold) and is_expression(gold) and is_combination(answer):
            return same_answer(gold, answer.operands[1])
        value = second[1] if second else _container(answer)
        return value is not None and same_answer(gold, value)
    return False


def _container(node: Relation) -> Node | None:
    """The set of "x in A"; None for every other relation."""
    return node.operands[1] if node.operators == ("in",) else None


def _same_assignment(first: tuple[Node | None, Node], second: tuple[Node | None, Node]) -> bool:
    """Whether two assignments give the same value to the same name; f(x) may be called y."""
    name, other = first[0], second[0]
    if (variables := _variables_of(name, other)) is not None and variables[0] != variables[1]:
        if variables[0] in symbols(second[1]):
            return False
        second = second[0], renamed(second[1], variables[1], variables[0])
    function = any(isinstance(one, Call) and one.name.startswith("apply ") for one in (name, other))
    indexed = isinstance(name, Symbol) and isinstance(other, Symbol) and (_indexes(name, other) or _indexes(other, name))
    alike = is_expression(name) and is_expression(other) and same_value(name, other) if name and other else True
    return (function or indexed or alike) and same_answer(first[1], second[1])


def _indexes(indexed: Symbol, symbol: Symbol) -> bool:
    """Whether the one is the other with or without an index: "x_1" and "x"."""
    return indexed.name.split("_")[0] == symbol.name


def _variables_of(name: Node | None, other: Node | None) -> tuple[str, str] | None:
    """The variables of f(x) and f(t), where both names are functions of one; None for other names."""
    match name, other:
        case Call(_, (Symbol(one),)), Call(_, (Symbol(two),)):
            return one, two
    return None


def _same_families(gold: Node, answer: Node) -> bool:
    first, second = as_family(gold), as_family(answer)
    return first is not None and second is not None and same_family(first, second, same_answer)


SPECIAL: tuple[tuple[type[Node], Callable[[Node, Node], bool]], ...] = (
    (Congruence, same_congruence),
    (Clock, same_clock),
    (Ratio, same_ratio),
    (Based, same_based),
    (Family, _same_families),
)
