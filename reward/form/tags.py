"""The checker for responses in sections: each tag opened and closed once, in order, with something inside.

A tag is `<name>` or `</name>` letter for letter. Wherever it stands it is a tag, in quotes, in code and in another's text too: whoever
cuts the answer out of the response takes it for one.
"""

import re
from dataclasses import dataclass
from itertools import pairwise

from reward.form.options import read_options
from reward.given import given

NAME = re.compile(r"[A-Za-z_][\w.:-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The sections that a reference asks for."""

    tags: tuple[str, ...]
    outside: bool = False  # text outside the tags is allowed
    partial: bool = False
    opened: bool = False  # the prompt ends with the first tag's opening


def read_layout(reference: object) -> Layout:
    """The layout a reference asks for: a list of tag names, or a table with `tags`, `outside`, `partial`, `opened`; else ValueError."""
    reference = given(reference)
    if isinstance(reference, list):
        reference = {"tags": reference}
    known = {"tags": (list,), "outside": (bool,), "partial": (bool,), "opened": (list,)}
    options = read_options(reference, known, needed=("tags",))
    tags, opened = options["tags"], options.get("opened", [])
    if not tags:
        raise ValueError("tags must name at least one tag, got an empty list")
    for tag in tags:
        if not isinstance(tag, str) or not NAME.fullmatch(tag):
            raise ValueError(f"tags must be names such as 'think' without angle brackets, got {tag!r}")
    if len(set(tags)) < len(tags):
        raise ValueError(f"tags must differ, each stands once in a response, got {tags}")
    if opened not in ([], tags[:1]):
        raise ValueError(f"opened may only name the first tag, {tags[:1]}: the prompt ends with it; got {opened}")
    return Layout(tags=tuple(tags), outside=options.get("outside", False), partial=options.get("partial", False), opened=bool(opened))


def tags_reference(reference: object) -> None:
    """ValueError when the reference asks for no layout."""
    read_layout(reference)


def check_tags(response: str, reference: object) -> float:
    """1.0 when the response has the layout, else 0.0; with `partial` the share of what is right.

    What may be right is every tag and, unless text may stand outside, that none does; a response without a right tag has 0.0.
    """
    layout = read_layout(reference)
    text = f"<{layout.tags[0]}>{response}" if layout.opened else response
    sections = find_sections(text, layout.tags)
    right = len(sections)
    wanted = len(layout.tags)
    if right and not layout.outside:
        wanted += 1
        right += not outside_of(text, sections)
    share = right / wanted
    return share if layout.partial else float(share == 1)


def find_sections(text: str, tags: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the tags that are right begin and end, in the order asked for."""
    marks: dict[str, list[re.Match[str]]] = {}
    found = list(re.finditer(f"<(/?(?:{'|'.join(map(re.escape, tags))}))>", text))
    for mark in found:
        marks.setdefault(mark[1], []).append(mark)
    following = {before.end(): after.start() for before, after in pairwise(found)}
    sections: list[tuple[int, int]] = []
    end = 0
    for tag in tags:
        opening, closing = marks.get(tag, []), marks.get(f"/{tag}", [])
        if len(opening) != 1 or len(closing) != 1:
            continue
        inside = opening[0].end(), closing[0].start()
        if opening[0].start() >= end and following.get(inside[0]) == inside[1] and says_something(text[slice(*inside)]):
            end = closing[0].end()
            sections.append((opening[0].start(), end))
    return sections


def says_something(text: str) -> bool:
    """Whether the text has any visible character."""
    return any(letter.isprintable() and not letter.isspace() for letter in text)


def outside_of(text: str, sections: list[tuple[int, int]]) -> str:
    """The text outside the sections, without white space around it."""
    begin, left = 0, []
    for start, end in sections:
        left.append(text[begin:start])
        begin = end
    return "".join([*left, text[begin:]]).strip()


def gold_tags(reference: object) -> str:
    """The layout with a word in every section."""
    layout = read_layout(reference)
    text = "\n".join(f"<{tag}>\ntext\n</{tag}>" for tag in layout.tags)
    return text.removeprefix(f"<{layout.tags[0]}>") if layout.opened else text
