"""The checker for answers in words, compared as question answering does: small letters, no punctuation, no articles."""

import re
import string
import unicodedata

from configs.json_cell import from_json
from reward.answers.answer import marked_answer, marked_answers, spoken, stated_answer
from reward.answers.exact import reference_text
from reward.answers.joined import unwrapped

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
ASCII_PUNCTUATION = frozenset(string.punctuation)


def normal_text(text: str) -> str:
    """Unicode NFKC and case folded, without punctuation and the articles a, an, the, words one space apart: SQuAD's normal form."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = "".join(c for c in folded if c not in ASCII_PUNCTUATION and not unicodedata.category(c).startswith("P"))
    return " ".join(ARTICLES.sub(" ", kept).split())


def accepted_answers(reference: object) -> list[str]:
    """The reference's texts, or their final answers where they mark one; ValueError says how a reference must look.

    A text that is a JSON list of texts is that list.
    """
    if isinstance(reference, str) and isinstance(listed := from_json(reference), list) and all(isinstance(one, str) for one in listed):
        reference = listed
    texts = [reference_text(one) for one in (reference if isinstance(reference, list) else [reference])]
    if not texts:
        raise ValueError("reference must hold at least one accepted answer, got []")
    accepted = [spoken(text) if (marked := marked_answer(text)) is None else marked for text in texts]
    for text, answer in zip(texts, accepted, strict=True):
        if not normal_text(answer):
            raise ValueError(f"reference must be more than punctuation and articles, got {text!r}: use the checker 'exact'")
        if marked_answer(answer) is not None:
            raise ValueError(f"reference must mark one answer at most, got {text!r}")
    return accepted


def check_match(response: str, reference: object) -> float:
    """1.0 when the final answer is one of the accepted texts in normal form (`normal_text`), else 0.0.

    The final answer is the marked one (`reward.answers.answer`), else the line after the last "answer is" or "answer:", else the whole
    response. Several answers that are joined are right when each is, or all of them as one text.
    """
    accepted = {normal_text(text) for text in accepted_answers(reference)}
    marked, text = marked_answers(response), spoken(response)
    if marked is None:
        return float(any(normal_text(one) in accepted for one in (text, stated_answer(text) or "")))
    each = all(any(normal_text(form) in accepted for form in (one, unwrapped(one))) for one in marked)
    return float(each or any(normal_text(form) in accepted for form in (", ".join(marked), unwrapped(", ".join(marked)))))


def gold_match(reference: object) -> str:
    """A response that is right."""
    return accepted_answers(reference)[0]
