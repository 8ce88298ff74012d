"""The words of mathematics: functions, letters, units and other words that stand beside numbers."""

FUNCTIONS = frozenset({
    "sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth", "arcsin", "arccos", "arctan", "arccot", "asin", "acos", "atan",
    "ln", "log", "lg", "exp", "sqrt", "cbrt", "gcd", "lcm", "max", "min", "det", "abs", "floor", "ceil", "sgn", "arg", "Re", "Im", "sech", "csch",
    "deg", "dim", "rank", "tr",
})  # fmt: skip
SAME_FUNCTION = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log10"}
GREEK = frozenset({
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa", "lambda", "mu", "nu",
    "xi", "rho", "varrho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma", "Delta", "Theta", "Lambda", "Xi",
    "Sigma", "Upsilon", "Phi", "Psi", "Omega", "hbar", "ell", "imath", "jmath", "aleph", "wp", "nabla",
})  # fmt: skip
INFINITE = frozenset({"infinity", "Infinity", "inf", "oo", "infty"})
# An upright or spaced letter is a unit only if it is one of these.
UNIT_LETTERS = frozenset(["m", "g", "s", "h", "l", "L", "N", "J", "W", "V", "A", "K", "C", "F", "T", "Hz", "Pa", "Ω"])
UNITS = frozenset(
    ["mm", "cm", "dm", "km", "nm", "um", "ft", "yd", "mi", "in", "mg", "kg", "lb", "lbs", "oz", "ml", "mL", "cl", "dl", "dL", "kl", "cc", "gal", "qt", "pt", "ms", "ns", "us", "min", "mins", "sec", "secs", "hr", "hrs", "hour", "day", "wk", "mo", "yr", "yrs", "mph", "kph", "kmh", "fps", "bps", "Hz", "kHz", "MHz", "GHz", "Pa", "kPa", "MPa", "atm", "bar", "psi", "mol", "mmol", "eV", "keV", "MeV", "GeV", "kJ", "MJ", "kW", "MW", "kWh", "kV", "mV", "mA", "uA", "kN", "MN", "nF", "pF", "uF", "mH", "dB", "rad", "sr", "lm", "lx", "cd", "Wb", "ohm", "erg", "dyn", "amu", "sq", "cu", "deg", "rpm", "AU", "ly", "pc", "kpc", "Mpc", "yrs", "USD", "EUR", "GBP", "usd", "cal", "Cal", "tbsp", "tsp", "cup", "km2", "m2", "cm2", "m3", "cm3"]
)
# Words of two or three letters beside numbers; every other such run of letters is a product of variables.
SHORT_WORDS = frozenset(
    ["is", "it", "of", "to", "in", "on", "at", "by", "as", "an", "if", "so", "we", "he", "no", "are", "the", "per", "one", "two", "six", "ten", "and", "for", "all", "any", "but", "not", "has", "was", "its", "new", "old", "out", "way", "who", "how", "men", "man", "boy", "day", "cow", "pig", "hen", "dog", "cat", "egg", "pie", "cup", "box", "bag", "pen", "toy", "car", "bus", "bee", "ant", "ape", "fox", "hat", "cap", "pot", "pan", "jar", "can", "tin", "mug", "bed", "inn", "hot", "ice", "kid", "guy", "mom", "dad", "son", "she", "her", "him", "his", "our", "you", "your", "my", "am", "pm", "ago", "net", "row", "odd", "sum", "set"]
)
NEGATING = frozenset(
    ["not", "no", "nor", "neither", "never", "except", "but", "than", "less", "more", "least", "most", "fewer", "greater", "between", "under", "over", "below", "above", "exactly", "unless", "if", "minus", "plus", "times", "or", "either", "and", "isn't", "rather", "instead", "was", "wrong", "incorrect", "about", "where", "when", "such", "false"]
)  # words that change what the number beside them means
ALLOWED_LABELS = frozenset(["is", "are", "the", "answer", "equals", "equal", "to"])
SETS = frozenset("NZQRC")
BASES = {
    name: base
    for base, name in enumerate(
        ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen"], start=2
    )
}
