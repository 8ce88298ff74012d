"""A page of the report: its body, its charts, and the data that its own script reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

Figure = dict[str, Any]  # of Plotly: {"data": [...], "layout": {...}}

ASSETS = Path(__file__).parent / "assets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One tab. `html` is shown as it is, so whatever comes from a run must have gone through `escape` before.

    Example: Page(name="rewards", title="Rewards", html=cards([chart]), charts=[chart])
    """

    name: str  # in the address: report.html#rewards
    title: str  # on the tab
    html: str
    charts: Sequence["Chart"] = ()  # drawn where `html` has them, when they come into view
    data: Any = None  # JSON for the script
    more: Mapping[str, Any] = field(
        default_factory=dict
    )  # further JSON that the script fetches by name, each unpacked when it is asked for
    script: str = ""  # JavaScript: calls report.page(name, (data, root) => ...) once
    style: str = ""  # CSS


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A picture by Plotly with its title, and a sentence that says how to read it and what a healthy one looks like."""

    id: str  # unique in the report: "overview-reward"
    title: str
    how: str
    figure: Figure
    wide: bool = False  # over the whole width of the page
    height: int = 240  # pixels

    @property
    def html(self) -> str:
        """The frame of the chart; the report's script draws into it."""
        kind = "card wide" if self.wide else "card"
        return (
            f'<figure class="{kind}"><h3>{escape(self.title)}</h3>'
            f'<div class="chart" id="{escape(self.id)}" style="height:{self.height}px"></div>'
            f"<figcaption>{escape(self.how)}</figcaption></figure>"
        )


def cards(charts: Sequence[Chart]) -> str:
    """Charts side by side, as many as fit."""
    return f'<div class="cards">{"".join(chart.html for chart in charts)}</div>' if charts else ""


def asset(name: str) -> str:
    """The text of a script or a style sheet in `assets/`."""
    return (ASSETS / name).read_text(encoding="utf-8")
