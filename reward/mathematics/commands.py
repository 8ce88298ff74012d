"""LaTeX's commands that are signs, and commands of the same meaning."""

SAME = {
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "le": "<=", "leq": "<=", "leqslant": "<=", "leqq": "<=", "ge": ">=", "geq": ">=",
    "geqslant": ">=", "geqq": ">=", "ne": "!=", "neq": "!=", "lt": "<", "gt": ">", "approx": "~", "simeq": "~", "thickapprox": "~",
    "sim": "~", "doteq": "~", "equiv": "equiv", "in": "in", "cup": "cup", "bigcup": "cup", "cap": "cap", "setminus": "setminus",
    "backslash": "setminus", "mid": "|", "vert": "|", "lvert": "|", "rvert": "|", "Vert": "||", "lVert": "||", "rVert": "||",
    "colon": ":", "lbrace": "{:", "rbrace": ":}", "pm": "pm", "mp": "mp", "land": "and", "wedge": "and", "lor": "or", "vee": "or",
    "prime": "'", "dots": "dots", "ldots": "dots", "cdots": "dots", "langle": "<:", "rangle": ":>", "lparen": "(", "rparen": ")",
    "lbrack": "[", "rbrack": "]", "degree": "circ", "varnothing": "emptyset", "infin": "infty", "over": "over", "dfrac": "frac",
    "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom", "choose": "choose", "mod": "mod", "bmod": "mod",
    "pmod": "pmod", "uppi": "pi",
}  # fmt: skip
SIGN_COMMANDS = frozenset(
    {*SAME.values(), "and", "or", "circ", "over", "mod", "pmod"} - {"infty", "emptyset", "dots", "frac", "binom", "pi"}
)
