"""The words of mathematics: functions, letters, units and other words that stand beside numbers."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    "cis sin cos tan cot sec csc sinh cosh tanh coth sech csch arcsin arccos arctan arccot asin acos atan ln log lg exp sqrt cbrt gcd lcm "
    "max min det abs floor ceil sgn arg Re Im deg dim rank tr"
)
SAME_FUNCTION = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log10"}
GREEK = _words(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho varrho sigma tau upsilon phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Upsilon Phi Psi Omega hbar ell imath jmath aleph wp nabla partial"
)
ACCENTS = _words("hat bar overline vec tilde widehat widetilde dot ddot overrightarrow angle triangle")
INFINITE = _words("infinity Infinity inf oo infty")
UNIT_LETTERS = _words("m g s h l L N J W V A K C F T Ω")  # an upright or spaced letter is a unit only if it is one of these
UNITS = _words(
    "mm cm dm km nm um ft yd mi in mg kg lb lbs oz ml mL cl dl dL kl cc gal qt pt ms ns us min mins sec secs hr hrs hour day wk mo yr "
    "yrs mph kph kmh fps bps Hz kHz MHz GHz Pa kPa MPa atm bar psi mol mmol eV keV MeV GeV kJ MJ kW MW kWh kV mV mA uA kN MN nF pF uF "
    "mH dB rad sr lm lx cd Wb ohm erg dyn amu sq cu deg rpm AU ly pc kpc Mpc USD EUR GBP usd cal Cal tbsp tsp cup"
)
# Words of two or three letters beside numbers; every other such run of letters is a product of variables.
SHORT_WORDS = _words(
    "is it of to in on at by as an if so we he no are the per one two six ten and for all any but not has was its new old out way who "
    "how men man boy day cow pig hen dog cat egg pie cup box bag pen toy car bus bee ant ape fox hat cap pot pan jar can tin mug bed "
    "yen won ton van fan fly owl rat bug bun job key kit leg lot map nut pea pin rod rug tie toe top tub web arm eye ear jet gem hut "
    "inn hot ice kid guy mom dad son she her him his our you your my am pm ago net row odd sum set"
)
# Words that change what the number beside them means.
NEGATING = _words(
    "not no nor never except but than less more least most fewer greater between under over below above exactly unless if "
    "minus plus times or and isn't rather instead was wrong incorrect where when such false matrix matrices"
)
ORDINALS = frozenset({"st", "nd", "rd", "th"})
SCALES = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12, "dozen": 12}
SETS = frozenset("NZQRC")
NUMERALS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
BASES = {name: base for base, name in enumerate(NUMERALS, start=2)} | {"sixteen": 16}
