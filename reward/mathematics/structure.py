"""Reads what stands around expressions: relations, sets, lists, ratios and remainders, with the words beside them."""

from fractions import Fraction

from reward.mathematics.beside import condition_in_words, drop_label, drop_unit
from reward.mathematics.expression import Expressions
from reward.mathematics.names import SCALES
from reward.mathematics.names import SETS as NUMBER_SETS
from reward.mathematics.nodes import (
    Bracketed,
    Builder,
    Call,
    Congruence,
    Family,
    FiniteSet,
    Listing,
    Node,
    Number,
    NumberSet,
    Ratio,
    Relation,
    SetOperation,
    Symbol,
    is_bound,
    symbols,
)  # fmt: skip
from reward.mathematics.rebuild import with_plusminus
from reward.mathematics.tokens import Token
from reward.mathematics.unreadable import UnreadableError

RELATIONS = ("=", "~", "<", ">", "<=", ">=", "!=", "in")
SET_SIGNS = {"cup": "union", "cap": "intersection", "setminus": "difference"}
SETS = (Bracketed, FiniteSet, NumberSet, Builder, SetOperation)
CONDITIONAL = frozenset({"for", "where", "with", "if", "when"})
SEPARATORS = (",", ";", "and", "or")
# Commands that the operand of a function may contain: "\\sin 2\\pi x" has one operand, "\\sin x \\cos x" two functions.
IN_OPERANDS = frozenset({"pi", "frac", "sqrt", "theta", "alpha", "beta", "gamma", "phi", "omega", "infty"})


class Structures(Expressions):
    """The grammar of a whole answer."""

    def whole(self) -> Node:
        """The tree of all tokens; UnreadableError where any of them is left over."""
        items, joints = [self.member()], []
        while self.at.sees(*SEPARATORS):
            joints.append(self.separator())
            items.append(self.member())
        self.end()
        return together(items, joints)

    def end(self) -> None:
        """Require that nothing is left."""
        if self.at.peek().kind != "end":
            raise UnreadableError(f"{self.at.peek().text!r} after the end of an expression")

    def separator(self) -> str:
        """Move behind ", and" and the like; which of them it was."""
        joint = self.at.peek().text
        while self.at.sees(*SEPARATORS):
            token = self.at.take()
            joint = token.text if token.text in ("and", "or") else joint
        return joint

    def member(self) -> Node:
        """One value of a list, with the label before it and the unit or condition behind it."""
        if self.at.place and (condition := self.condition()):
            return condition
        drop_label(self.at)
        found = self.relation()
        if self.at.peek().text in SCALES and self.at.peek().kind == "word":
            found = Call("*", (found, Number(Fraction(SCALES[self.at.take().text]))))
        if self.at.sees("(") or self.at.peek().kind == "word" or self.is_unit_letter():
            if condition := self.condition():
                return Family(found, (condition,))
            drop_unit(self.at)
        return found

    def condition(self) -> Node | None:
        """A condition in words or in brackets behind a value; None where something else stands there."""
        if (worded := condition_in_words(self.at)) is not None:
            return worded
        place, bracket = self.at.place, self.at.sees("(")
        if not bracket and not (self.at.peek().kind == "word" and self.at.peek().text.lower() in CONDITIONAL):
            return None
        try:
            self.at.take()
            inner = self.relation()
            if isinstance(inner, Relation) and (self.at.takes(")") if bracket else is_bound(inner)):
                return inner
        except UnreadableError:
            pass  # words of a unit in brackets
        self.at.place = place
        return None

    def relation(self) -> Node:
        """Values with signs such as = and < between them."""
        operands, operators = [self.sets()], []
        while self.at.sees(*RELATIONS):
            operators.append(self.at.take().text)
            right = self.sets()
            named = operators[-1] == "in" and isinstance(right, Symbol) and right.name in NUMBER_SETS
            operands.append(NumberSet(right.name) if named and isinstance(right, Symbol) else right)
        if operators.count("~") > 1:
            raise UnreadableError("several approximations")
        if self.at.takes("equiv"):
            if operators:
                raise UnreadableError("a remainder within a chain")
            return self.remainder(operands[0])
        if not operators and (self.at.sees("pmod") or self.at.sees("mod") or (self.at.sees("(") and self.at.sees("mod", ahead=1))):
            return Congruence(None, operands[0], self.modulus())
        return Relation(tuple(operands), tuple(operators)) if operators else operands[0]

    def remainder(self, left: Node) -> Node:
        rights = [self.sum()]
        while self.at.takes(",", "or", "and"):
            rights.append(self.sum())
        modulus = self.modulus()
        found = [Congruence(left, one, modulus) for right in rights for one in with_plusminus(right) or (right,)]
        return found[0] if len(found) == 1 else Listing(tuple(found), "or")

    def modulus(self) -> Node:
        """The number behind "mod"."""
        if self.at.takes("pmod"):
            return self.argument_number()
        bracket = self.at.takes("(")
        self.at.expect("mod")
        found = self.sum()
        if bracket:
            self.at.expect(")")
        return found

    def sets(self) -> Node:
        """Sets with union, intersection and difference signs between them, from left to right; or one expression."""
        found = self.ratio()
        while True:
            if self.at.sees(*SET_SIGNS):
                found = SetOperation(SET_SIGNS[self.at.take().text], (found, self.ratio()))
            elif isinstance(found, SETS) and self.at.peek().text in ("U", "u") and self.at.peek().kind == "letter":
                self.at.take()
                found = SetOperation("union", (found, self.ratio()))
            elif isinstance(found, SETS) and self.at.takes("-"):
                found = SetOperation("difference", (found, self.ratio()))
            else:
                return found

    def ratio(self) -> Node:
        """Expressions with colons between them."""
        items = [self.set_or_sum()]
        while not self.in_set and self.at.takes(":"):
            items.append(self.sum())
        return items[0] if len(items) == 1 else Ratio(tuple(items))

    def set_or_sum(self) -> Node:
        """A set by its name or brackets, which arithmetic does not join; else a sum."""
        token = self.at.peek()
        if token.kind == "command" and (token.text == "emptyset" or token.text.startswith("set ")):
            return self.base()
        if token.kind == "sign" and token.text in ("{:", "(", "["):
            place, depth = self.at.place, self.at.depth
            try:
                found = self.bracket()
            except UnreadableError:
                if token.text == "{:":
                    raise
            else:
                if isinstance(found, SETS):
                    return found
            self.at.place, self.at.depth = place, depth
        return self.sum()

    def listing(self) -> list[Node]:
        """Members with commas or semicolons between them; empty before a closing bracket."""
        if self.at.sees(")", "]"):
            return []
        in_set, self.in_set = self.in_set, False
        items = [self.relation()]
        while self.at.takes(",", ";"):
            items.append(self.relation())
        self.in_set = in_set
        return items

    def braces(self) -> Node:
        """The elements of a set, or the expression and the conditions of a set builder, up to the closing brace."""
        if self.at.takes(":}"):
            return FiniteSet(())
        in_set, self.in_set = self.in_set, True
        bars, self.in_bars = self.in_bars, True
        items = [self.relation()]
        while self.at.takes(",", ";", "and"):
            items.append(self.relation())
        if self.at.takes("|", ":"):
            self.in_bars = False
            if len(items) != 1:
                raise UnreadableError("a set of several expressions with a condition")
            conditions, joints = [self.relation()], []
            while self.at.sees(*SEPARATORS):
                joints.append(self.separator())
                conditions.append(self.relation())
            found: Node = built(items[0], conditions, joints)
        else:
            found = FiniteSet(tuple(items))
        self.in_set, self.in_bars = in_set, bars
        self.at.expect(":}")
        return found

    def operand(self) -> Node:
        """What a function without brackets takes: "2x" of "\\sin 2x \\cos y"."""
        found = self.power()
        while self.begins_factor() and not self.begins_function() and not self.at.sees("("):
            found = self.beside(found)
        return found

    def begins_function(self) -> bool:
        """Whether a function comes next, before which the operand of another one ends."""
        token = self.at.peek()
        return token.kind == "command" and token.text not in IN_OPERANDS


def built(body: Node, conditions: list[Node], joints: list[str]) -> Node:
    """A set builder; "x in A" before the bar is the body x with one condition more."""
    if isinstance(body, Relation):
        if body.operators != ("in",) or not isinstance(body.operands[0], Symbol | Bracketed):
            raise UnreadableError("a set builder that begins with a relation")
        return Builder(body.operands[0], (body, *joined_conditions(conditions, joints)))
    return Builder(body, joined_conditions(conditions, joints))


def joined_conditions(conditions: list[Node], joints: list[str]) -> tuple[Node, ...]:
    return (Listing(tuple(conditions), "or"),) if "or" in joints else tuple(conditions)


def together(items: list[Node], joints: list[str]) -> Node:
    """The values of an answer as one tree: conditions on the symbols of a value belong to it."""
    values = [item for item in items if not is_domain(item)]
    domains = tuple(item for item in items if is_domain(item))
    if real := [one for one in domains if is_real(one, values)]:
        kept = [item for item in items if item not in real]
        return together(kept, joints[: len(kept) - 1])
    if domains and values:
        body = values[0] if len(values) == 1 else Listing(tuple(values), "or" if "or" in joints else ",")
        return Family(body, domains)
    if len(items) == 1:
        return items[0]
    if groups := grouped(items, joints):
        return Listing(groups, "or")
    return Listing(tuple(items), "or" if "or" in joints else "and" if "and" in joints else ",")


def grouped(items: list[Node], joints: list[str]) -> tuple[Node, ...]:
    """The groups of "x = 1, y = 2; x = 3, y = 4", which ";" or "or" separate; empty where the items form no such groups."""
    groups: list[list[Node]] = [[items[0]]]
    for joint, item in zip(joints, items[1:], strict=True):
        if joint in (";", "or"):
            groups.append([item])
        else:
            groups[-1].append(item)
    even = len({len(group) for group in groups}) == 1 and min(len(groups), len(groups[0])) > 1
    if not even or not all(isinstance(item, Relation) for item in items):
        return ()
    return tuple(Listing(tuple(group), "and") for group in groups)


def is_real(domain: Node, values: list[Node]) -> bool:
    """Whether a domain says only that a variable is real, which inequalities about it say too."""
    bounds = bool(values) and all(isinstance(value, Relation) and symbols(domain) <= symbols(value) for value in values)
    return bounds and isinstance(domain, Relation) and domain.operands[1] == NumberSet("R")


def is_domain(node: Node) -> bool:
    """Whether a relation says from which number set a symbol comes."""
    return (
        isinstance(node, Relation)
        and node.operators == ("in",)
        and isinstance(node.operands[0], Symbol)
        and isinstance(node.operands[1], NumberSet)
    )


def read_tokens(tokens: list[Token]) -> Node:
    """The tree of a list of tokens; UnreadableError where they have no known meaning as a whole."""
    return Structures(tokens).whole()
