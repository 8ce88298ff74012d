"""Letters of options in a text: those it denies, and those that its statements or its last line name."""

import re

from reward.answers.statements import statements

DENIED = "\x00"  # in place of a letter that is denied
ONE = r"[(\[]?[A-Z][)\]]?(?![^\W_])"
SOME = rf"{ONE}(?:\s*(?:,|/|,?\s*\b(?:or|and|nor|oder|und|ou|et|o|y)\b)\s*{ONE})*"
NOUN = r"(?:(?:the|an?|option|choice|answer|letter|correct|antwort|réponse|opción|respuesta|opzione|alternativa|la|el|die)\s+){0,3}"
NOT = re.compile(
    r"(?:(?i:\b(?:not|never|neither|nor|except|unlike|without|nicht|pas|(?:rather|other)\s+than|instead\s+of|anything\s+but|cannot\s+be|no\s+es|non\s+è|não\s+é|\u043d\u0435)"
    r"(?:\s+be)?|n['\u2019]t(?:\s+be)?"
    r"|\b(?:rul(?:e|es|ed|ing)\s+out|(?:eliminat|exclud|discard|reject|dismiss)\w*|cross(?:ed)?\s+out|schlie\u00dfe\w*)))"
    rf"\s*:?\s+(?i:{NOUN}){SOME}|(?:不是|不选|不应选|排除|并非)\s*(?:选项)?\s*{ONE}",
)
WRONG = re.compile(
    rf"(?<![^\W_]){ONE}\s*(?:(?:is|are|was|can|could|would|must|does|do|cannot|can't|isn't|ist|est|es|è|é|n'est|неверн\w*)\b"
    r"[^.,;\n]{0,25}?(?:\bnot\b|n't\b|\bcannot\b|\bwrong\b|\bincorrect\b|\bfalse\b|\binvalid\b|\bimpossible\b|\bout\b|\beliminated\b|\bexcluded\b|\bnicht\b|\bfalsch\b"
    r"|\bpas\b|\bfausse?\b|\bincorrect[ao]\b|\bfals[ao]\b|\bsbagliat[ao]\b|\berrad[ao]\b|\b\u043d\u0435\u0432\u0435\u0440\w*)|\s*(?:是错|错误|不对|不正确|不是))"
)
FILLER = (
    r"[\s:*]*(?:(?:clearly|therefore|thus|simply|definitely|most\s+likely|probably)\s+)?"
    rf"(?:\w{{0,6}}\s*{DENIED}[\s,;]*(?:but|it\s+is|it's|sondern|mais|sino|ma|mas|\u0430|而是)\s*(?:rather\s+)?)?"
    r"(?:(?:the|die|der|la|le|el|il|a|o|l['\u2019]|option|choice|answer|letter|letra|lettre|lettera|buchstabe|opción|opção|opzione|alternativa|вариант|选项|选|第|選択肢|보기|"
    r"correct|right|number|antwort|réponse|respuesta|risposta|resposta)\s*:?\s*){0,3}"
)
AFTER = (
    r"(?=\s*(?:$|[\n).,;:!\]<]|[-\u2013\u2014=]\s"
    r"|(?:because|since|as|and|or|but|for|which|with|weil|da|denn|car|porque|perché|так)\b)|[^\x00-\x7f])"
)
NAMED = re.compile(rf"(?i:{FILLER})(?:[(\[]\s*([A-Za-z])\s*[)\]]|([A-Z]){AFTER}|([a-z])(?=\s*\.?\s*(?:$|\n)))")
OTHER = re.compile(
    r"(?:(?:故|应|因此|所以|我)?选择?(?:选项)?|正确(?:的)?选项(?:是|为))\s*[:\uff1a]?\s*[(\uff08]?([A-Z])(?![A-Za-z])"
    r"|(?<![A-Za-z])([A-Z])\s*(?:选项)?(?:是正确|正确|が正解|が正しい|(?:번)?(?:이|가)\s*정답)"
    r"|(?i:\b(?:option|antwort|réponse|opción|opzione|opção|alternativa|вариант)\s+)\(?([A-Z])\)?\s+(?i:ist\s+(?:richtig|korrekt)|est\s+(?:la\s+bonne|correcte?|juste)|es\s+(?:la\s+)?correct|"
    r"è\s+(?:quella\s+)?(?:corrett|giust)|é\s+(?:a\s+)?corret|верн|правильн)"
    r"|(?i:\b(?:opción|opzione|opção|alternativa|option|réponse)\s+(?:corre[ct]\w*|giusta|certa|esatta)\s+(?:es|è|é|est)\s+(?:la\s+|a\s+|letra\s+)*)"
    r"\(?([A-Z])\)?(?![^\W_])"
    r"|(?i:\b(?:selected|chosen|correct|final)\s+(?:option|choice|answer|letter)\s*[:=]\s*)\(?([A-Z])\)?" + AFTER
)
# Weaker than a statement: the option at the end of a sentence that concludes, or of the text.
CONCLUDED = re.compile(
    rf"{DENIED}[\s,;]*(?:but|sondern|mais|sino|而是)\s*(?:rather\s+)?[(\[]?([A-Z])[)\]]?(?![^\W_])|"
    r"(?i:\b(?:so|thus|hence|therefore|matches|corresponds\s+to|that\s+is|that's|it\s+is|it's|which\s+is)\b,?\s+(?:the\s+)?(?:correct\s+)?(?:option|choice|answer)\s*:?\s*)"
    r"[(\[]?([A-Z])[)\]]?(?=\s*(?:[.,;!\n]|$))"
    r"|(?i:\b(?:it|this)(?:['\u2019]s|\s+is|\s+must\s+be|\s+has\s+to\s+be))\s+[(\[]?([A-Z])[)\]]?(?=\s*(?:[.!\n]|$))"
    r"|(?i:\b(?:option|answer|choice|ans)\b[\s.:-]{1,3})[(\[]?([A-Z])[)\]]?\s*[.!]?\s*$|(?i:\b(?:so|thus|hence|therefore)\b,?\s+)[(\[]?([A-Z])[)\]]?\s*[.!]?\s*$"
)
LAST_LINE = re.compile(
    r"(?:#{1,6}\s*)?(?:(?i:(?:(?:the|final|correct|right|best|so|thus|hence)\s+)*(?:option|choice|answer|ans|letter)\s*[.:\u2013-]?\s*))?"
    r"(?:[(\[]\s*([A-Z])\s*[)\]]|([A-Z]))\s*(?:[.!]|[.:)]\s*\S.*|[).:]|[)\]]\s.*)?"
)
LISTED_LINE = re.compile(r"\s*(?:[-*]\s*)?[(\[]?([A-Z])(?:[)\].:]|\s*$)")


def without_denied(text: str) -> str:
    """The text with a mark in place of each letter that it denies: "not B", "B is wrong", "rule out B"."""
    return NOT.sub(lambda found: f"not {DENIED}", WRONG.sub(DENIED, text))


def stated_letters(text: str) -> dict[int, str]:
    """The letters that statements of an answer name, in any of twenty languages, by the positions behind them."""
    named = {}
    for _, end, denied in statements(text):
        found = NAMED.match(text, end)
        if found and (not denied or DENIED in found[0]):
            named[found.end()] = next(letter for letter in found.groups() if letter).upper()
    for found in OTHER.finditer(text):
        named[found.end()] = next(letter for letter in found.groups() if letter).upper()
    return named


def last_line_letter(text: str) -> str | None:
    """The letter of a last line that is only a choice, "D", "Option D", "D) 2"; None where it continues a list of the options."""
    lines = [line for line in text.splitlines() if line.strip()]
    found = LAST_LINE.fullmatch(lines[-1].strip()) if lines else None
    if found is None:
        return None
    letter = found[1] or found[2]
    listed = {one[1] for line in lines[:-1] if (one := LISTED_LINE.match(line))}
    continues = chr(ord(letter) - 1) in listed and letter not in listed
    return None if continues else letter


def concluded_letter(text: str) -> str | None:
    """The last option that a conclusion names: "so option D", "hence D."."""
    found = list(CONCLUDED.finditer(text))
    return next(letter for letter in found[-1].groups() if letter) if found else None
