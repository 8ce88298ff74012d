"""Tables and small pieces of HTML. Every text is escaped here, so that a page cannot forget it."""

from collections.abc import Iterable, Sequence
from html import escape

THOUSAND = 1000.0
LONG = 400  # characters of a cell


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, kind: str = "") -> str:
    """A table that scrolls sideways on a small screen; numbers stand on the right. Empty rows give a table without a body."""
    lines = [list(row) for row in rows]
    numeric = [numbers_only([row[place] for row in lines]) for place in range(len(head))]
    heads = "".join(f"<th{' class=number' if right else ''}>{escape(name)}</th>" for name, right in zip(head, numeric, strict=True))
    body = "".join(f"<tr>{''.join(cell(value) for value in row)}</tr>" for row in lines)
    return f'<div class="scroll"><table class="{escape(kind)}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def numbers_only(column: Sequence[object]) -> bool:
    """Whether a column stands on the right: it has a number, and nothing else but gaps."""
    known = [value for value in column if value is not None]
    return bool(known) and all(map(is_number, known))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def cell(value: object) -> str:
    """One cell: a number with few digits, a text that says its own direction, a dash for None."""
    if value is None:
        return '<td class="quiet">-</td>'
    if isinstance(value, int | float) and is_number(value):
        return f'<td class="number">{shown(value)}</td>'
    text = str(value)
    cut = text if len(text) <= LONG else f"{text[:LONG]}…"
    return f'<td dir="auto">{escape(cut)}</td>'


def shown(value: float) -> str:
    """A number for people: 1,234 · 0.512 · 3.1e-06."""
    if isinstance(value, int) or (abs(value) >= THOUSAND and abs(value) < 1e15):  # noqa: PLR2004, whole numbers that a float says exactly
        return f"{value:,.0f}"
    return f"{value:.3g}" if value else "0"


def note(text: str) -> str:
    """A remark that stands out."""
    return f'<p class="note" dir="auto">{escape(text)}</p>'


def duration(seconds: float) -> str:
    """A time for people: 42 s, 12 min, 3 h 20 min, 2 d 4 h."""
    whole = int(seconds)
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{seconds:.3g} s"
