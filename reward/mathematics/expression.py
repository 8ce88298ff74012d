"""Reads an expression of arithmetic: sums, products, powers, fractions, roots and functions."""

from reward.mathematics.atoms import Atoms
from reward.mathematics.names import ACCENTS, FUNCTIONS, GREEK, ORDINALS
from reward.mathematics.nodes import Call, Node, Number, Percent, Relation, Symbol
from reward.mathematics.unreadable import UnreadableError

OPENS_OPERAND = frozenset({"(", "{", "<:", "[", "{:"})
MOST_FACTORS = 200  # of one product, whose tree is as deep
MOST_MARKS = 12
OPERAND_COMMANDS = FUNCTIONS | GREEK | ACCENTS | {"frac", "binom", "sqrt", "pi", "infty", "lfloor", "lceil", "begin", "boxed"}


class Expressions(Atoms):
    """The levels of arithmetic, each calling the one that binds tighter."""

    def sum(self) -> Node:
        """Terms with + or - between them."""
        self.at.deeper()
        terms = [self.signed()]
        while self.at.sees("+", "-", "pm", "mp"):
            terms.append(self.signed())
        self.at.depth -= 1
        return terms[0] if len(terms) == 1 else Call("+", tuple(terms))

    def signed(self) -> Node:
        """A term with its sign, as after the first term of a sum."""
        if self.at.takes("+"):
            return self.signed()
        if self.at.takes("-"):
            self.at.deeper()
            negated = self.signed()
            self.at.depth -= 1
            return Call("-", (negated,))
        if self.at.takes("pm"):
            return Call("plusminus", (self.product(),))
        if self.at.takes("mp"):
            return Call("plusminus", (Call("-", (self.product(),)),))
        return self.product()

    def product(self) -> Node:
        """Factors with a sign between them or none, from left to right."""
        found = self.power()
        for _ in range(MOST_FACTORS):
            if self.at.takes("*"):
                found = Call("*", (found, self.factor_with_sign()))
            elif self.at.takes("/"):
                found = Call("/", (found, self.factor_with_sign()))
            elif self.at.takes("over"):
                found = Call("/", (found, self.sum()))
            elif self.at.takes("choose"):
                found = Call("binomial", (found, self.sum()))
            elif self.begins_factor():
                place = self.at.place
                right = self.beside(found)
                if is_condition(right, found):
                    self.at.place = place
                    return found
                found = right
            else:
                return found
        raise UnreadableError(f"a product of more than {MOST_FACTORS} factors")

    def factor_with_sign(self) -> Node:
        """A factor after * or /, which may have a sign: "2 * -3"."""
        if self.at.takes("-"):
            return Call("-", (self.factor_with_sign(),))
        self.at.takes("+")
        return self.power()

    def beside(self, left: Node) -> Node:
        """The product of a factor and one that follows it without a sign; a mixed number where they are one."""
        token = self.at.peek()
        if token.kind == "number":
            mixed = self.mixed_number(left)
            if mixed is None and isinstance(left, Call) and left.name == "factorial":
                return Call("*", (left, self.power()))  # "3!7!"
            if mixed is None:
                raise UnreadableError(f"{token.text!r} directly after another factor")
            return mixed
        right = self.power(mixed=is_whole(left))
        if is_whole(left) and self.fraction_just_read and is_proper(right):
            return self.marked(Call("+", (left, right)))
        return Call("*", (left, right))

    def mixed_number(self, left: Node) -> Node | None:
        """ "1 1/2" as a sum; None where the number is no part of a mixed number."""
        if not is_whole(left) or self.at.peek(1).text != "/" or self.at.peek(2).kind != "number":
            return None
        top = self.power_number()
        self.at.expect("/")
        fraction = Call("/", (top, self.power_number()))
        return self.marked(Call("+", (left, fraction))) if is_proper(fraction) else None

    def begins_factor(self) -> bool:
        """Whether a factor without a sign before it comes next."""
        token = self.at.peek()
        if token.kind == "letter":
            return not self.is_unit_letter()
        if token.kind == "number":
            return True
        if token.kind == "command":
            return token.text in OPERAND_COMMANDS
        if token.text == "(" and self.at.sees("mod", ahead=1):
            return False
        if token.text == "(" and self.at.peek(1).kind == "word" and len(self.at.peek(1).text) > 1:
            return False  # "9 (apples)"
        return token.kind == "sign" and (token.text in OPENS_OPERAND or (token.text in ("|", "||") and not self.in_bars))

    def power(self, *, mixed: bool = False) -> Node:
        """A factor with its marks; of a fraction behind a whole number they belong to both: "12\\frac12\\%"."""
        found = self.base()
        marks_both = mixed and self.fraction_just_read and is_proper(found) and (not self.at.sees("^") or self.sees_degree())
        return found if marks_both else self.marked(found)

    def marked(self, found: Node) -> Node:
        """A factor with what follows it above the line: exponents, factorials, percent and degree signs."""
        for _ in range(MOST_MARKS):
            self.fraction_just_read = isinstance(found, Call) and found.name == "/" and self.fraction_just_read
            if self.at.sees("^"):
                found = self.raised(found)
            elif self.at.takes("!"):
                found = Call("factorial", (found,))
            elif self.at.takes("%"):
                found = Percent(found)
            elif self.at.takes("circ"):
                found = Call("degree", (found,))
            else:
                return found
            self.fraction_just_read = False
        raise UnreadableError(f"more than {MOST_MARKS} exponents and signs behind one value")

    def sees_degree(self) -> bool:
        """Whether a raised circle comes next."""
        braced = self.at.sees("{", ahead=1) and self.at.sees("circ", ahead=2) and self.at.sees("}", ahead=3)
        return self.at.sees("^") and (braced or self.at.sees("circ", ahead=1))

    def raised(self, base: Node) -> Node:
        """A base with the exponent that follows; a circle there is the sign of degrees."""
        if self.sees_degree():
            self.at.place += 2 if self.at.sees("circ", ahead=1) else 4
            return Call("degree", (base,))
        self.at.expect("^")
        if any(self.at.peek(ahead).text in ORDINALS and self.at.peek(ahead).kind == "word" for ahead in (0, 1)):
            self.at.place += 3 if self.at.sees("{") else 1  # "5^{th}"
            return base
        exponent = self.exponent()
        return Call("^", (base, exponent))

    def exponent(self) -> Node:
        """What stands behind "^": a group, or a number, letter or bracket with its sign."""
        if self.at.takes("-"):
            return Call("-", (self.exponent(),))
        self.at.takes("+")
        if self.at.takes("{"):
            inner = self.sum()
            self.at.expect("}")
            return inner
        self.at.deeper()
        token = self.at.peek()
        found = self.power_number() if token.kind == "number" else self.base()
        if self.at.sees("^"):
            found = self.raised(found)
        self.at.depth -= 1
        return found


def is_condition(product: Node, left: Node) -> bool:
    """Whether the second factor of a product is a relation in brackets, which is a condition: "k pi (k in Z)", but not "P(X = 2)"."""
    if not isinstance(product, Call) or not isinstance(product.args[-1], Relation):
        return False
    return not (isinstance(left, Symbol) and left.name.isupper())


def is_whole(node: Node) -> bool:
    """Whether a node is a whole number in digits."""
    return isinstance(node, Number) and node.places is None


def is_proper(node: Node) -> bool:
    """Whether a node is a fraction of whole numbers below 1."""
    if not (isinstance(node, Call) and node.name == "/"):
        return False
    top, bottom = node.args
    return isinstance(top, Number) and isinstance(bottom, Number) and is_whole(top) and is_whole(bottom) and 0 < top.value < bottom.value
