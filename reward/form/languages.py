"""The language of a sentence: by its script, and by py3langid's model for languages that share a script.

py3langid (BSD) carries its model with it and needs no network. It is imported at the first call: it reads its model for a second.
"""

from functools import lru_cache
from typing import Any

SURE = 0.5  # probability from which a sentence counts as in a language
# Languages written in another script than Latin; codes are those of py3langid's model.
SCRIPTS = {
    "CYRILLIC": "ba be bg kk ky mk mn ru sr tg tt uk uz",
    "ARABIC": "ar ary arz fa ku ps sdh ug ur",
    "DEVANAGARI": "hi mr ne sa",
    "BENGALI": "as bn",
    "CJK": "ja wuu yue zh",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "HANGUL": "ko",
    "BOPOMOFO": "zh",
    "ETHIOPIC": "am",
    "GREEK": "el",
    "HEBREW": "he",
    "ARMENIAN": "hy",
    "GEORGIAN": "ka",
    "KHMER": "km",
    "KANNADA": "kn",
    "LAO": "lo",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "ORIYA": "or",
    "GURMUKHI": "pa",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "GUJARATI": "gu",
    "TIBETAN": "dz",
}
ALSO_LATIN = "ku sr tg tt uz"
LATIN = (
    "ace af an az bcl br bs ca crh cs cy da de en eo es et eu ext fi fo fr fuv fy ga gcf gcr gd gl gom grc gug guw ha hbo "
    "hr ht hu id ig is it jv kab kik la lb lg lij ln lt ltg lv mg ms mt nl nn no nso oc om pcm pl pt qu ro rw se sk "
    "sl sn so sq st sv sw tk tl tr uzs vec vi vo wa xh yo zu"
)
# Languages that the model confuses in single sentences.
KIN = ("en pcm", "zh wuu yue", "no nn da", "id ms", "bs hr sr", "ar ary arz", "hi sa")


@lru_cache(maxsize=1)
def all_scripts() -> dict[str, frozenset[str]]:
    """The scripts of each language."""
    found: dict[str, set[str]] = {code: {"LATIN"} for code in f"{LATIN} {ALSO_LATIN}".split()}
    for script, codes in SCRIPTS.items():
        for code in codes.split():
            found.setdefault(code, set()).add(script)
    return {code: frozenset(scripts) for code, scripts in found.items()}


LANGUAGES = frozenset(all_scripts())


def scripts_of(language: str) -> frozenset[str]:
    return all_scripts()[language]


def is_foreign(sentence: str, language: str) -> bool:
    """Whether the sentence is surely in a language other than this one and its relatives; its script must be of this one."""
    same = {language}.union(*(group.split() for group in KIN if language in group.split()))
    rivals = [code for code in LANGUAGES - same if scripts_of(code) & scripts_of(language)]
    if not rivals:
        return False
    chances = dict(model().rank(sentence))
    best = max(rivals, key=lambda code: (chances[code], code))
    return chances[best] >= SURE * sum(chances[code] for code in (*same, *rivals))


@lru_cache(maxsize=1)
def model() -> Any:
    """py3langid's identifier, which gives probabilities."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
