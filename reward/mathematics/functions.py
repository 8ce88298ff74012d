"""Reads commands: fractions, roots, matrices, and functions with their arguments."""

from abc import abstractmethod
from collections.abc import Callable
from fractions import Fraction

from reward.mathematics.letters import Letters
from reward.mathematics.names import ACCENTS, FUNCTIONS, GREEK, SAME_FUNCTION
from reward.mathematics.nodes import Call, Constant, FiniteSet, Matrix, Node, Number, Symbol, children, symbols
from reward.mathematics.tokens import Token
from reward.mathematics.unreadable import UnreadableError

MATRICES = frozenset({"matrix", "pmatrix", "bmatrix", "Bmatrix", "array", "smallmatrix"})
INVERSE = Call("-", (Number(Fraction(1)),))


class Functions(Letters):
    """The commands of a text."""

    @abstractmethod
    def sum(self) -> Node:
        """Terms with + or - between them."""

    @abstractmethod
    def operand(self) -> Node:
        """What a function without brackets takes: factors up to the next sign or function."""

    @abstractmethod
    def listing(self) -> list[Node]:
        """Members with commas between them, up to a closing bracket."""

    @abstractmethod
    def base(self) -> Node:
        """One operand without signs or exponents."""

    def command(self) -> Node:
        """A fraction, root, function, constant, set or matrix by its name."""
        name = self.at.take().text
        if reader := self.readers.get(name):
            return reader()
        if name.startswith("set "):
            return self.number_set(name[4:])
        if name in ACCENTS:
            text = self.as_text()
            unit = text.removeprefix("bold ").removesuffix("math")
            if name in ("hat", "vec") and unit in ("i", "j", "k"):
                return Symbol(f"bold {unit}")
            return Symbol(f"{name} {text}{self.index()}{self.primes()}")
        if name in FUNCTIONS:
            return self.function(name)
        if name in GREEK:
            name += self.index() + self.primes()
            return Call(f"apply {name}", self.arguments()) if self.is_applied_to_number() else Symbol(name)
        raise UnreadableError(f"the command \\{name}")

    @property
    def readers(self) -> dict[str, Callable[[], Node]]:
        """What reads the rest of a command, by its name."""
        return {
            "frac": self.fraction,
            "binom": lambda: Call("binomial", (self.argument(), self.argument())),
            "sqrt": self.root,
            "pi": lambda: Constant("pi"),
            "infty": lambda: Constant("infinity"),
            "emptyset": lambda: FiniteSet(()),
            "lfloor": lambda: self.whole_part("floor", "rfloor"),
            "lceil": lambda: self.whole_part("ceil", "rceil"),
            "begin": self.matrix,
            "boxed": self.argument,
        }

    def whole_part(self, name: str, closing: str) -> Node:
        """What stands between the signs of a whole part."""
        inner = self.sum()
        self.at.expect(closing)
        return Call(name, (inner,))

    def fraction(self) -> Node:
        """The two arguments of \\frac; a quotient of differentials is one symbol."""
        top, bottom = self.argument(), self.argument()
        self.fraction_just_read = True
        if begins_with_d(top) and begins_with_d(bottom):
            return Symbol(f"derivative {differential(top)} by {top} / {bottom}")
        return Call("/", (top, bottom))

    def root(self) -> Node:
        """The argument of \\sqrt or "sqrt(…)", with the degree in brackets if there is one."""
        degree: Node = Number(Fraction(2))
        if self.at.takes("["):
            degree = self.sum()
            self.at.expect("]")
        if self.at.sees("("):
            self.at.take()
            inner = self.sum()
            self.at.expect(")")
        else:
            inner = self.argument()
        return Call("root", (inner, degree))

    def argument(self) -> Node:
        """A group in braces, or the one sign that comes next: of a number its first digit."""
        if self.at.takes("{"):
            inner = self.sum()
            self.at.expect("}")
            return inner
        token = self.at.peek()
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            rest = Token("number", token.text[1:])
            self.at.tokens = [*self.at.tokens[: self.at.place], Token("number", token.text[0]), rest, *self.at.tokens[self.at.place + 1 :]]
        return self.base()

    def function(self, name: str) -> Node:
        """A function with its exponent, base and arguments: "\\log_2 8", "\\sin^2 x", "gcd(4, 6)"."""
        name = SAME_FUNCTION.get(name, name)
        if name == "cbrt":
            return Call("root", (self.operand(), Number(Fraction(3))))
        base: Node | None = None
        exponent: Node | None = None
        for _ in range(2):
            if self.at.takes("_"):
                base = self.argument_number()
            elif self.at.takes("^"):
                exponent = self.argument_number()
        if exponent == INVERSE:
            name, exponent = {"sin": "arcsin", "cos": "arccos", "tan": "arctan"}.get(name, f"inverse {name}"), None
        args = self.arguments() if self.at.sees("(") else (self.operand(),)
        if base is not None:
            args = (*args, base)
        found: Node = Call(name, args)
        return found if exponent is None else Call("^", (found, exponent))

    def argument_number(self) -> Node:
        """An index or exponent of a function; a number without braces is taken whole."""
        if self.at.takes("-"):
            return Call("-", (self.argument_number(),))
        return self.power_number() if self.at.peek().kind == "number" else self.argument()

    def arguments(self) -> tuple[Node, ...]:
        """The values between round brackets."""
        self.at.expect("(")
        bars, self.in_bars = self.in_bars, False
        items = self.listing()
        self.in_bars = bars
        self.at.expect(")")
        return tuple(items)

    def matrix(self) -> Node:
        """The rows of a matrix, behind \\begin."""
        name = self.as_text().rstrip("*")
        if name not in MATRICES and name != "vmatrix":
            raise UnreadableError(f"the environment {name}")
        if name == "array" and self.at.sees("{"):
            self.as_text()
        rows: list[list[Node]] = [[]]
        while not self.at.takes("end"):
            if self.at.takes("\\\\"):
                rows.append([])
            elif not self.at.takes("&", "hline"):
                rows[-1].append(self.sum())
            if self.at.peek().kind == "end":
                raise UnreadableError("a matrix that is not closed")
        if self.as_text().rstrip("*") != name:
            raise UnreadableError(f"the environment {name} without its end")
        full = [tuple(row) for row in rows if row]
        if not full or len({len(row) for row in full}) > 1:
            raise UnreadableError("a matrix whose rows differ in length")
        return Call("det", (Matrix(tuple(full)),)) if name == "vmatrix" else Matrix(tuple(full))


def differential(top: Node) -> str:
    """The variable whose derivative a quotient of differentials is: y of "dy"."""
    return next((name for name in sorted(symbols(top)) if name not in ("d", "partial")), "")


def begins_with_d(node: Node) -> bool:
    """Whether a product begins with the letter d, as differentials do."""
    while not isinstance(node, Symbol) and (below := children(node)):
        if not isinstance(node, Call) or node.name not in ("*", "^", "/"):
            return False
        node = below[0]
    return isinstance(node, Symbol) and node.name in ("d", "partial")
