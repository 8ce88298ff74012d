"""The signs of Unicode that mathematics uses, with what they are in ASCII or LaTeX."""

FULL_WIDTH = {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # the ASCII signs as East Asian text writes them
# Other signs with their ASCII or LaTeX equivalents.
SIGNS = {
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00a0": " ", "\u2009": " ", "\u202f": " ",
    "\u3000": " ", "\u200b": "", "\u2061": "", "\u2062": "", "\u00d7": r"\times ", "\u2217": "*", "\u00b7": r"\cdot ",
    "\u22c5": r"\cdot ", "\u00f7": "/", "\u2215": "/", "\u2044": "/", "\u00b1": r"\pm ", "\u2213": r"\mp ", "\u2264": r"\le ",
    "\u2265": r"\ge ", "\u2a7d": r"\le ", "\u2a7e": r"\ge ", "\u2260": r"\neq ", "\u2248": r"\approx ", "\u2243": r"\approx ",
    "\u2261": r"\equiv ", "\u221e": r"\infty ", "\u222a": r"\cup ", "\u2229": r"\cap ", "\u2216": r"\setminus ", "\u2208": r"\in ",
    "\u2205": r"\emptyset ", "\u2223": "|", "\u221a": r"\sqrt", "\u221b": r"\sqrt[3]", "\u00b0": r"^\circ ", "\u00bd": r"\frac{1}{2}",
    "\u00bc": r"\frac{1}{4}", "\u00be": r"\frac{3}{4}", "\u2153": r"\frac{1}{3}", "\u2154": r"\frac{2}{3}", "\u215b": r"\frac{1}{8}",
    "\u2032": "'", "\u2033": "''", "\u2019": "'", "\u211d": r"\mathbb{R}", "\u2124": r"\mathbb{Z}", "\u2115": r"\mathbb{N}",
    "\u211a": r"\mathbb{Q}", "\u2102": r"\mathbb{C}", "\u2026": r"\dots ", "\u2308": r"\lceil ", "\u2309": r"\rceil ",
    "\u230a": r"\lfloor ", "\u230b": r"\rfloor ", "\u2227": r"\land ", "\u2228": r"\lor ", "\u3001": ",", "\u3002": ".", "\u2081": "_1",
    "\u2082": "_2", "\u2083": "_3", "\u2220": r"\angle ", "\u25b3": r"\triangle ", "\u22ef": r"\dots ", "\u27e8": r"\langle ",
    "\u27e9": r"\rangle ", "\u2236": ":", "\u2113": r"\ell ", "\u210f": r"\hbar ",
}  # fmt: skip
LOWER = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
UPPER = "Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega"
GREEK_LETTERS = dict(
    zip(
        "\u03b1\u03b2\u03b3\u03b4\u03b5\u03b6\u03b7\u03b8\u03b9\u03ba\u03bb\u03bc\u03bd\u03be\u03c0\u03c1\u03c3\u03c4\u03c5\u03c6\u03c7\u03c8\u03c9",
        LOWER.split(),
        strict=True,
    )
)
GREEK_LETTERS |= dict(zip("\u0393\u0394\u0398\u039b\u039e\u03a3\u03a6\u03a8\u03a9", UPPER.split(), strict=True))
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "0123456789-+n", strict=True))
