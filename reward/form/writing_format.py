"""Instructions about the form of a response: its paragraphs, lists, marks, beginning and end."""

import re

from reward.form.json_text import NotJsonError, read_json
from reward.form.text import lines, paragraphs

DIVIDER = re.compile(r"(?<!\*)\*{3}(?!\*)")
TWO = re.compile(r"(?<!\*)\*{6,7}(?!\*)")  # prompts of the public benchmark ask for six and show seven
PLACEHOLDER = re.compile(r"\[([^\[\]\n]+)\]")
BULLET = re.compile(r"[ \t]*[*-][ \t]+(?=.*\w)")
HIGHLIGHT = re.compile(r"\*\*(?=\S)[^*\n]++(?<=\S)\*\*|\*(?=\S)[^*\n]++(?<=\S)\*")
TITLE = re.compile(r"<<([^<>\n]+)>>")
FENCED = re.compile(r"```(?:json)?\s(.*)```", re.DOTALL | re.IGNORECASE)
CHOICES = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
AROUND_WORD = "\"'\u201c\u201d\u2018\u2019*_#([{.,;:!?)]} "


def _between(divider: re.Pattern[str], text: str) -> list[str]:
    """The parts between dividers, without white space; a divider at the very start or end divides nothing."""
    parts = [part.strip() for part in divider.split(text)]
    if parts and not parts[0]:
        del parts[0]
    if parts and not parts[-1]:
        del parts[-1]
    return parts


def number_paragraphs(response: str, num_paragraphs: float) -> bool:
    """Exactly so many paragraphs, divided by ***; none of them empty."""
    parts = _between(DIVIDER, response)
    return all(parts) and len(parts) == num_paragraphs


def nth_paragraph_first_word(response: str, num_paragraphs: float, nth_paragraph: float, first_word: str) -> bool:
    """Exactly so many paragraphs, divided by blank lines; the nth begins with the word."""
    parts = paragraphs(response)
    if len(parts) != num_paragraphs:
        return False
    begin = parts[int(nth_paragraph) - 1].split(maxsplit=1)[0].strip(AROUND_WORD)
    return begin.casefold() == first_word.strip(AROUND_WORD).casefold()


def number_placeholders(response: str, num_placeholders: float) -> bool:
    return sum(bool(name.strip()) for name in PLACEHOLDER.findall(response)) >= num_placeholders


def has_postscript(response: str, postscript_marker: str) -> bool:
    """The marker, with or without blanks between its letters, and text after it."""
    marker = r"\s?".join(re.escape(letter) for letter in postscript_marker if not letter.isspace())
    found = re.search(rf"(?<!\S){marker}(.*)", response, re.DOTALL | re.IGNORECASE)
    return found is not None and any(letter.isalnum() for letter in found[1])


def number_bullets(response: str, num_bullets: float) -> bool:
    return sum(BULLET.match(line) is not None for line in lines(response)) == num_bullets


def gives_a_choice(response: str) -> bool:
    return any(choice in response for choice in CHOICES)


def number_highlights(response: str, num_highlights: float) -> bool:
    return len(HIGHLIGHT.findall(response)) >= num_highlights


def number_sections(response: str, section_spliter: str, num_sections: float) -> bool:
    """Sections are marked by the word and a number."""
    return len(re.findall(rf"(?<!\w){re.escape(section_spliter.strip())}[ \t]?\d+", response)) >= num_sections


def is_json(response: str) -> bool:
    """The whole response, which may be fenced, is JSON."""
    fenced = FENCED.fullmatch(response.strip())
    try:
        read_json(fenced[1] if fenced else response)
    except NotJsonError:
        return False
    return True


def has_title(response: str) -> bool:
    return any(title.strip() for title in TITLE.findall(response))


def two_responses(response: str) -> bool:
    parts = _between(TWO, response)
    return all(parts) and len(parts) == 2 and parts[0] != parts[1]  # noqa: PLR2004


def repeats_prompt(response: str, prompt_to_repeat: str) -> bool:
    return response.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(response: str, end_phrase: str) -> bool:
    """The very end of the response, except for white space and a quotation mark."""
    text, phrase = response.strip().lower(), end_phrase.strip().lower()
    return text.endswith(phrase) or text.strip('"').rstrip().endswith(phrase)


def is_quoted(response: str) -> bool:
    text = response.strip()
    return len(text) > 2 and (text[0], text[-1]) in (('"', '"'), ("“", "”"))  # noqa: PLR2004
