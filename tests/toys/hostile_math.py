"""Fifty responses that hang symbolic mathematics, eat its memory or its stack, or flood its parsers; none of them equals REFERENCE."""

REFERENCE = "42"


def nested(before: str, inner: str, after: str, depth: int) -> str:
    return before * depth + inner + after * depth


def boxed(text: str) -> str:
    return rf"Thus \boxed{{{text}}}."


# Legal, short and beyond any machine: without a deadline nearly all of them hang, the rest ends in MemoryError or RecursionError.
BEYOND = {
    "tower of nines": "9^{9^{9^{9}}}",
    "tower of twos": nested("2^{", "2", "}", 8),
    "tower below one": "(1/3)^{3^{3^{3^{3}}}}",
    "tower plus one": "7^{7^{7^{7}}}+1",
    "tower of a root": r"\sqrt{5}^{8^{8^{8}}}",
    "difference of towers": "3^{10^{10}}-2^{10^{10}}",
    "remainder of a tower": r"9^{9^{9^9}} \mod 10",
    "quotient of towers": r"\frac{9^{9^{9}}}{8^{8^{9}}}",
    "large power": "(123456789)^{987654321}",
    "factorial": "1000000000!",
    "factorial of a factorial": "((20!)!)",
    "factorials in a fraction": r"\frac{100000000!}{99999999!+1}",
    "factorial in a root": r"\sqrt{300000000!}",
    "difference of factorials": "200000000!-199999999!",
    "binomial": r"\binom{10000000000}{5000000000}",
    "binomial of binomials": r"\binom{\binom{100}{50}}{\binom{60}{30}}",
    "product": r"\prod_{n=1}^{1000000000} n",
    "sum": r"\sum_{n=1}^{1000000000} \frac{1}{n^2+1}",
    "sum of factorials": r"\sum_{n=1}^{1000000} n!",
    "sum of sines": r"\sum_{n=1}^{100000} \sin(n^2)",
    "double sum": r"\sum_{i=1}^{30000}\sum_{j=1}^{30000} \frac{i}{j+i^2}",
    "endless sum": r"\sum_{n=1}^{\infty} \frac{\sin(n)^3}{n^3+n+1}",
    "expansion of two": "(x+y+1)^{3000}-x",
    "expansion of six": "(a+b+c+x+y+z)^{60}-1",
    "expansion of sines": r"(\sin(x)+\cos(y)+1)^{400}-1",
    "nested roots": nested(r"\sqrt{2+", "x", "}", 60),
    "product of sums of roots": "".join(rf"(\sqrt{{{n}}}+x^{{{n}}}+1)" for n in range(2, 60)),
    "root of a long number": rf"\sqrt{{{'7' * 1900}}}",
    "logarithm of towers": r"\log_{2}(3^{5^{7^{9}}})",
    "integral": r"\int_{0}^{1} \frac{\sin(x^7)e^{x^3}}{\sqrt{1+x^{11}}} dx",
    "integral of a root": r"\int \sqrt{\sin(x)+x^5+\log(x)} dx",
    "trigonometric sum": "+".join(rf"\sin({n}x)\cos({n + 1}y)\tan({n + 2}x)" for n in range(1, 30)),
    "trigonometric product": "".join(rf"\sin({n}x)\cos({n + 1}x)" for n in range(1, 40)),
    "rational function": "+".join(rf"\frac{{{n}}}{{x^{n}+y+{n}}}" for n in range(2, 40)),
    "continued fraction": nested(r"\frac{1}{x+y+", "z", "}", 60),
    "tower of variables": nested("x^{", "y+1", "}", 40),
    "absolute values": nested("|x+", "y", "|", 20),
    "great exponent": "1.5e999999999",
    "floor of a tower": r"\lfloor \pi^{9^{9^{9}}} \rfloor",
    "greatest common divisor": r"\gcd(7^{9^{9}}, 3^{9^{9}})",
}
# What no parser should be fed: as long as an answer may be, and far longer.
FLOODS = {
    "parentheses": boxed(nested("(", "7", ")", 990)),
    "fractions": boxed(nested(r"\frac{1}{1+", "7", "}", 150)),
    "braces": boxed(nested("{", "7", "}", 990)),
    "sum of ones": boxed("+".join("1" * 990)),
    "a megabyte of roots": boxed(r"\sqrt{2}+" * 120_000),
    "a million commas": boxed("," * 10**6),
    "unicode": boxed("a\u0301\u202e\U0001f600\ud800" * 100_000),
    "boxes to no end": r"\boxed{" * 100_000,
    "brackets without an end": "\\[" * 100_000,
    "numbers": "1 " * 200_000,
}
HOSTILE = {name: boxed(text) for name, text in BEYOND.items()} | FLOODS
