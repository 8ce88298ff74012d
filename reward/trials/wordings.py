"""Other ways to write a right answer to a mathematical question."""

import re
from fractions import Fraction

from reward.mathematics.nodes import (
    Call,
    Constant,
    FiniteSet,
    Listing,
    Node,
    Number,
    Percent,
    Relation,
    Symbol,
    symbols,
)  # fmt: skip
from reward.trials.value import value
from reward.trials.written import UnwritableError, written

LOOSE_SPACE = re.compile(r"(?<![\w\\,]) +(?!\w)")
WHOLE = re.compile(r"-?\d{4,15}")
DIGITS = 10
EXACT_PLACES = 6
NO_IMAGINARY = 1e-12
LEAST, LARGEST = 1e-2, 1e6  # sizes of numbers that are also written as rounded decimals


def in_other_marks(answer: str) -> list[str]:
    """Whole responses that mark the same text as their answer."""
    marked = [rf"\boxed {{ {answer} }}", rf"So it is $\fbox{{{answer}}}$.", f"Thus:\n<answer>{answer}</answer>"]
    return marked if "\n" in answer else [*marked, f"So we are done.\n#### {answer}"]


def in_other_words(answer: str, node: Node) -> list[str]:
    """Whole responses that give the answer, which was read as `node`, in other words."""
    texts = [*_restyled(answer), *_rewritten(node)]
    if isinstance(node, Number | Call):
        texts += _evaluated(answer, node)
    spoken = [f"The answer is ${answer}$."] if isinstance(node, Number) and "$" not in answer else []
    return [*(rf"\boxed{{{text}}}" for text in dict.fromkeys(texts) if text != answer), *spoken]


def _restyled(answer: str) -> list[str]:
    """The same text with other LaTeX for the same signs."""
    texts = [rf"\displaystyle {answer}", LOOSE_SPACE.sub("", answer)]
    if "$" not in answer:
        texts.append(f"${answer}$")
    if r"\frac" in answer:
        texts += [answer.replace(r"\frac", rf"\{kind}") for kind in ("dfrac", "tfrac")]
    if r"\left" in answer:
        texts.append(re.sub(r"\\(?:left|right)(?![a-zA-Z.])\s*", "", answer))
    return texts


def _rewritten(node: Node) -> list[str]:
    """The tree written anew, with its order changed where it has none."""
    trees: list[Node] = [node]
    if isinstance(node, FiniteSet) and len(node.items) > 1:
        trees.append(FiniteSet(node.items[::-1]))
    if isinstance(node, Listing) and not any(isinstance(item, Relation) for item in node.items):
        trees.append(Listing(node.items[::-1], node.joint))
    if isinstance(node, Relation) and node.operators == ("=",) and isinstance(node.operands[0], Symbol):
        trees.append(node.operands[1])
    if isinstance(node, Number | Call | Constant):
        name = next(one for one in "xyzw" if one not in symbols(node) or one == "w")
        trees.append(Relation((Symbol(name), node), ("=",)))
    if isinstance(node, Percent):
        trees.append(node.value)
    texts = []
    for tree in trees:
        try:
            texts.append(written(tree))
        except UnwritableError:
            continue
    return texts


def _evaluated(answer: str, node: Node) -> list[str]:
    """A number in digits, as a fraction, with separators and with a unit."""
    if symbols(node):
        return []
    found = value(node)
    if isinstance(found, complex):
        real = abs(found.imag) < NO_IMAGINARY and LEAST < abs(found) < LARGEST
        return [f"{found.real:.{DIGITS}f}"] if real else []
    if found is None:
        return []
    if found.denominator > 1:
        return _as_fraction(found)
    texts = [rf"{found}\text{{ units}}", rf"\frac{{{2 * found.numerator}}}{{2}}"] if answer == str(found) else [str(found)]
    if WHOLE.fullmatch(str(found)):
        grouped = f"{found.numerator:,}"
        texts += [grouped, grouped.replace(",", "{,}"), grouped.replace(",", r",\!"), grouped.replace(",", r"\,")]
    return texts if len(str(found)) > len("1000000000000000") else [*texts, f"{found}.0"]


def _as_fraction(found: Fraction) -> list[str]:
    sign, top = "-" if found < 0 else "", abs(found.numerator)
    texts = [f"{found}", rf"{sign}\frac{{{top}}}{{{found.denominator}}}", rf"\frac{{{sign}{3 * top}}}{{{3 * found.denominator}}}"]
    shifted = found * 10**EXACT_PLACES
    if shifted.denominator == 1:
        return [*texts, f"{float(found):.{EXACT_PLACES}f}".rstrip("0")]
    return [*texts, f"{float(found):.{DIGITS}f}"] if LEAST < abs(found) < LARGEST else texts
