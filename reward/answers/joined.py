"""Whether the text between two marked answers makes them one answer of several values: "or", a comma, nothing at all."""

import re

MAX_BETWEEN = 120  # characters; answers further apart belong to different sentences
WRAPPER = re.compile(r"\\(?:text\w{0,6}|[mh]box|math(?:rm|bf|it|sf|tt|cal|normal)|operatorname|emph)\s*\{([^{}]*)\}")
LAYOUT = re.compile(
    r"\\(?:q?quad|left|right|displaystyle|newline|hfill|hspace\*?\{[^{}]*\}|begin\{[^{}]*\}|end\{[^{}]*\})(?![A-Za-z])"
    r"|\\[,;:! ()\[\]\\]|[$*_`~\u200b]|</?answer>|<br\s*/?>|\b(?:and/or|if not)\b",
    re.IGNORECASE,
)
OR_SIGN = re.compile(
    r"\\(?:lor|vee|land|wedge|cup|cap)(?![A-Za-z])|或者|或|以及|和|及|与|または|"
    r"あるいは|と|또는|혹은|및|还可能是|也可能是|可能是"
)
OR = frozenset(
    [
        "or",
        "vs",
        "versus",
        "alternatively",
        "maybe",
        "perhaps",
        "possibly",
        "oder",
        "ou",
        "o",
        "u",
        "или",
        "либо",
        "veya",
        "lub",
        "eller",
        "vielleicht",
    ]
)
AND = frozenset(["and", "as", "well", "along", "together", "with", "plus", "und", "et", "y", "e", "и", "ve", "och", "en"])
FILLER = frozenset(["else", "otherwise", "even", "also", "either", "both", "just", "another", "possible", "potentially", "again"])
WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
LABEL = re.compile(
    r"(?<![^\W_])(?:[A-Za-z](?:\w{0,3}|\s\{?\d{1,2}\}?)|\\[a-z]+)(?:\([A-Za-z0-9]\))?\s*=\s*$"
)  # "y =" before the second answer
SEPARATORS = re.compile(r"[\s.,;:/|&+()\[\]{}\u2013\u2014\u3001\u3002\uff0c\uff1b-]*")
EXPLICIT = re.compile(r"[,;/|&+\u3001\uff0c\uff1b]")
SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f](?:\s|$)|\n\s*\n")
MIGHT = re.compile(
    r"\b(?:could|might|may|can)\s+(?:also\s+|even\s+|well\s+)?be\b"
    r"|\b(?:another|alternative|second|other)\s+(?:(?:possible|valid|correct|plausible)\s+)?(?:answer|solution|value|option|possibility|candidate)\b"
)
# After these the second answer replaces the first, follows from it or writes it in another form.
TURN = re.compile(
    r"[=?\u2248\u2192]|\\(?:approx|to|Right|right|implies|Long|equiv)|"
    r"\b(?:so|thus|hence|therefore|then|wait|no|not|never|actually|rather|correct\w*|sorry|mistak\w*|instead|because|since|but|however|"
    r"giv\w+|yield\w*|equals?|equivalent\w*|simpl\w+|i\.e|that is|in other words|same|means?|decimals?|fractions?|form|about|"
    r"approx\w*|roughly|percent\w*|express\w*|written|final\w*|becomes?|now|get|check\w*|recheck\w*|oops|wrong|incorrect|fix\w*|revis\w*)\b"
)
MOST_OTHER_WORDS = 3  # between two answers joined by "and": "3 apples and 4 pears"


def unwrapped(text: str) -> str:
    """The text with the content of \\text{} and the like in place of these commands, also where one contains another."""
    for _ in range(3):
        found = WRAPPER.sub(r" \1 ", text)
        if found == text:
            break
        text = found
    return text


def joins(between: str, *, alike: bool) -> bool:
    """Whether two answers with this text between them are one answer; `alike` says that both have the same kind of mark.

    They are where only separators or words such as "or" stand between them, or where a short clause offers the second beside the first.
    They are not where the clause corrects the first, or draws a conclusion from it: then the last answer alone counts.
    """
    if len(between) > MAX_BETWEEN:
        return False
    text = OR_SIGN.sub(" or ", unwrapped(LAYOUT.sub(_layout, between))).casefold()
    unlabelled = LABEL.sub("", text)
    words = WORD.findall(unlabelled)
    if SEPARATORS.fullmatch(WORD.sub("", unlabelled)) and OR.union(AND, FILLER).issuperset(words):
        labelled = unlabelled != text
        return bool(words or EXPLICIT.search(unlabelled)) or (alike and not labelled)
    clause = unlabelled.lstrip(" .,;:\n\u2013\u2014-")
    if SENTENCE_END.search(clause.rstrip()) or TURN.search(clause):
        return False
    if OR.intersection(words) or MIGHT.search(clause):
        return True
    return "and" in words and len(words) <= MOST_OTHER_WORDS + 1


def _layout(found: re.Match[str]) -> str:
    return " or " if found[0].casefold() in ("and/or", "if not") else " "
