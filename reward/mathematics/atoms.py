"""Reads what arithmetic joins: numbers, letters, brackets, bars, fractions, roots and functions with their arguments."""

from abc import ABC, abstractmethod
from fractions import Fraction

from reward.mathematics.cursor import Cursor
from reward.mathematics.names import FUNCTIONS, GREEK, SAME_FUNCTION, UNIT_LETTERS
from reward.mathematics.nodes import Bracketed, Call, Constant, FiniteSet, Matrix, Node, Number, NumberSet, Symbol, children
from reward.mathematics.tokens import Token
from reward.mathematics.unreadable import UnreadableError

LONGEST_NUMBER = 4_000  # digits; Python converts no more without a switch
LONGEST_EXPONENT = 4_000
CLOSES = {"(": (")", "]"), "[": (")", "]"), "<:": (":>",)}
ACCENTS = frozenset(
    ["hat", "bar", "overline", "vec", "tilde", "widehat", "widetilde", "dot", "ddot", "overrightarrow", "angle", "triangle"]
)
APPLIED = frozenset("fgFG")  # before a bracket these letters are functions, others are factors
MATRICES = frozenset(["matrix", "pmatrix", "bmatrix", "Bmatrix", "array", "smallmatrix"])


class Atoms(ABC):
    """The tightest level of the grammar; a subclass adds sums and lists."""

    def __init__(self, tokens: list[Token]) -> None:
        self.at = Cursor(tokens)
        self.in_bars = False
        self.in_set = False
        self.read_brackets: dict[tuple[int, bool, bool], tuple[Node | UnreadableError, int]] = {}
        self.fraction_just_read = False  # set by \\frac, so that "3\\frac{1}{2}" is a mixed number and "3 (1/2)" a product

    @abstractmethod
    def sum(self) -> Node:
        """Terms with + or - between them."""

    @abstractmethod
    def listing(self) -> list[Node]:
        """Members with commas between them, up to a closing bracket."""

    @abstractmethod
    def braces(self) -> Node:
        """A set in braces, behind its opening brace."""

    def base(self) -> Node:
        """One operand without signs or exponents."""
        self.at.deeper()
        token = self.at.peek()
        if token.kind == "number":
            found = self.power_number()
        elif token.kind == "letter":
            found = self.letter()
        elif token.kind == "command":
            found = self.command()
        elif token.kind == "word" and token.upright and len(token.text) == 1:
            found = self.letter()
        elif token.kind == "sign" and token.text in ("(", "[", "{", "|", "||", "<:", "{:"):
            found = self.bracket()
        else:
            raise UnreadableError(f"{token.text!r} where a number or symbol was expected")
        self.at.depth -= 1
        return found

    def power_number(self) -> Node:
        """The number that comes next."""
        token = self.at.take()
        if token.kind != "number":
            raise UnreadableError(f"{token.text!r} where a number was expected")
        return number(token.text)

    def letter(self) -> Node:
        """A variable with its index and primes, one of the constants e and i, or a function applied to a bracket."""
        name = self.at.take().text + self.index() + self.primes()
        if name in ("e", "i"):
            return Constant(name)
        if name in APPLIED and [self.at.peek(ahead).text for ahead in range(6)] == ["^", "{", "-", "1", "}", "("]:
            self.at.place += 5
            name = f"inverse {name}"
        if name.rstrip("'").removeprefix("inverse ")[:1] in APPLIED and self.at.sees("("):
            return Call(f"apply {name}", self.arguments())
        return Symbol(name)

    def is_unit_letter(self) -> bool:
        """Whether the letter here stands apart or upright behind a number, as a unit does."""
        token, before = self.at.peek(), self.at.peek(-1)
        apart = token.gap and before.kind == "number" and self.at.peek(1).kind == "end"
        return (apart or token.upright) and token.text in UNIT_LETTERS

    def index(self) -> str:
        """The index behind a letter, as text; "" without one."""
        if not self.at.takes("_"):
            return ""
        if not self.at.takes("{"):
            return "_" + self.at.take().text
        parts, depth = [], 1
        while depth:
            token = self.at.take()
            if token.kind == "end":
                raise UnreadableError("an index that is not closed")
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            parts.append(token.text)
        return "_" + "".join(parts[:-1])

    def primes(self) -> str:
        marks = ""
        while self.at.takes("'"):
            marks += "'"
        braced = self.at.sees("{", ahead=1)
        while self.at.sees("^") and self.at.sees("'", ahead=1 + braced):
            self.at.place += 1 + braced
            while self.at.takes("'"):
                marks += "'"
            if braced:
                self.at.expect("}")
        return marks

    def command(self) -> Node:
        """A fraction, root, function, constant or matrix by its name."""
        name = self.at.take().text
        if name == "frac":
            return self.fraction()
        if name == "binom":
            return Call("binomial", (self.argument(), self.argument()))
        if name == "sqrt":
            return self.root()
        if name in ("pi", "infty"):
            return Constant("pi" if name == "pi" else "infinity")
        if name.startswith("set "):
            return self.number_set(name[4:])
        if name == "emptyset":
            return FiniteSet(())
        if name in ("lfloor", "lceil"):
            inner = self.sum()
            self.at.expect("rfloor" if name == "lfloor" else "rceil")
            return Call("floor" if name == "lfloor" else "ceil", (inner,))
        if name in ACCENTS:
            return Symbol(f"{name} {self.as_text()}{self.index()}{self.primes()}")
        if name in FUNCTIONS:
            return self.function(name)
        if name in GREEK:
            return Symbol(name + self.index() + self.primes())
        if name == "begin":
            return self.matrix()
        if name == "boxed":
            return self.argument()
        raise UnreadableError(f"the command \\{name}")

    def number_set(self, name: str) -> Node:
        """\\mathbb{R} and the like, with a raised sign or without."""
        sign = ""
        if self.at.takes("^"):
            closing = self.at.takes("{")
            sign = self.at.take().text
            if closing:
                self.at.expect("}")
        elif self.at.takes("_"):
            self.at.takes("{")
            raise UnreadableError(f"the set {name} with an index")
        if len(name) != 1 or sign not in ("", "+", "-", "*"):
            raise UnreadableError(f"the set {name}{sign}")
        return NumberSet(name + sign)

    def fraction(self) -> Node:
        """The two arguments of \\frac; a quotient of differentials is one symbol."""
        top, bottom = self.argument(), self.argument()
        self.fraction_just_read = True
        if begins_with_d(top) and begins_with_d(bottom):
            return Symbol(f"derivative {top} by {bottom}")
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

    def as_text(self) -> str:
        """An argument as the text of its signs, for a name."""
        if not self.at.takes("{"):
            first = self.at.take()
            text = first.text
            while first.kind == "letter" and first.text.isupper() and self.at.peek().kind == "letter" and self.at.peek().text.isupper():
                text += self.at.take().text
            return text
        self.at.place -= 1
        start = self.at.place
        depth = 0
        while True:
            token = self.at.take()
            if token.kind == "end":
                raise UnreadableError("a brace that is not closed")
            depth += {"{": 1, "}": -1}.get(token.text, 0)
            if depth == 0:
                return "".join(token.text for token in self.at.tokens[start + 1 : self.at.place - 1])

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
        if exponent == Call("-", (Number(Fraction(1)),)):
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

    @abstractmethod
    def operand(self) -> Node:
        """What a function without brackets takes: factors up to the next sign or function."""

    def bracket(self) -> Node:
        """A group, a tuple, an interval, a set or an absolute value; read once, though the grammar may come back to it."""
        key = self.at.place, self.in_bars, self.in_set
        if key not in self.read_brackets:
            self.at.deeper()
            try:
                found: Node | UnreadableError = self._bracket()
            except UnreadableError as error:
                found = error
            self.at.depth -= 1
            self.read_brackets[key] = found, self.at.place
        found, self.at.place = self.read_brackets[key]
        if isinstance(found, UnreadableError):
            raise found
        self.fraction_just_read = False
        return found

    def _bracket(self) -> Node:
        opening = self.at.take().text
        bars, self.in_bars = self.in_bars, opening in ("|", "||")
        if opening == "{":
            found = self.group()
        elif opening in ("|", "||"):
            found = Call("abs" if opening == "|" else "norm", (self.sum(),))
            self.at.expect(opening)
        elif opening == "{:":
            found = self.braces()
        else:
            found = self.round_or_square(opening)
        self.in_bars = bars
        return found

    def group(self) -> Node:
        """What LaTeX's braces hold: an expression, or the elements of a set whose braces lack their backslashes."""
        items = [self.sum()]
        while self.at.takes(","):
            items.append(self.sum())
        self.at.expect("}")
        return items[0] if len(items) == 1 else FiniteSet(tuple(items))

    def round_or_square(self, opening: str) -> Node:
        items = self.listing()
        closing = self.at.take().text
        if closing not in CLOSES[opening]:
            raise UnreadableError(f"{closing!r} where a closing bracket was expected")
        if len(items) == 1 and opening != "<:":
            if (opening, closing) in (("(", ")"), ("[", "]")):
                return items[0]
            raise UnreadableError("brackets of two kinds around one value")
        return Bracketed({"<:": "("}.get(opening, opening), tuple(items), {":>": ")"}.get(closing, closing))

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
        self.as_text()
        full = [tuple(row) for row in rows if row]
        if not full or len({len(row) for row in full}) > 1:
            raise UnreadableError("a matrix whose rows differ in length")
        return Call("det", (Matrix(tuple(full)),)) if name == "vmatrix" else Matrix(tuple(full))


def number(text: str) -> Number:
    """The number in digits; UnreadableError for more digits than can be handled."""
    mantissa, _, exponent = text.lower().partition("e")
    if len(mantissa) > LONGEST_NUMBER or abs(int(exponent or 0)) > LONGEST_EXPONENT:
        raise UnreadableError(f"a number of more than {LONGEST_NUMBER} digits")
    _, point, decimals = mantissa.partition(".")
    value = Fraction(mantissa if mantissa != "." else "0") * Fraction(10) ** int(exponent or 0)
    places = max(0, len(decimals) - int(exponent or 0)) if point or exponent else None
    return Number(value, places)


def begins_with_d(node: Node) -> bool:
    """Whether a product begins with the letter d, as differentials do."""
    while not isinstance(node, Symbol) and (below := children(node)):
        if not isinstance(node, Call) or node.name not in ("*", "^", "/"):
            return False
        node = below[0]
    return isinstance(node, Symbol) and node.name in ("d", "partial")
