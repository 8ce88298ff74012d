"""The responses of a run, to be browsed, searched and compared within their groups."""

from collections.abc import Sequence

from cluster.report.files import RunFiles
from cluster.report.page import Page, asset
from cluster.report.responses.table import table_of

SCRIPTS = ("texts.js", "tokens.js", "responses.js")


def responses(runs: Sequence[RunFiles]) -> Page:
    """A list with filters, and beside it the response that is chosen. Texts of a run reach the page as data only, never as HTML."""
    tables = [table_of(run, place, 1 / len(runs)) for place, run in enumerate(runs)]
    return Page(
        name="responses",
        title="Responses",
        html=asset("responses.html"),
        data=[table.data for table in tables],
        more={name: value for table in tables for name, value in table.more.items()},
        script="\n".join(asset(name) for name in SCRIPTS),
        style=asset("responses.css"),
    )
