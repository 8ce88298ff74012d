"""One self-contained HTML file from the pages of a report. It loads nothing: its policy forbids every address but itself.

<script type="application/x-packed" id="data-NAME">   charts and data of a page, unpacked when its tab is opened
<script type="application/x-packed" id="more-NAME-KEY">   what the page's own script asks for
<script>   the one script that may run, known by its hash: an element that a text smuggles in cannot
"""

from base64 import b64encode
from collections.abc import Iterator, Sequence
from hashlib import sha256
from html import escape

from cluster.report.files import RunFiles
from cluster.report.pack import packed, plotly
from cluster.report.page import Page, asset
from configs.version import VERSION

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Cpath d='M1 13l4-5 3 3 6-8' stroke='%230072B2' stroke-width='2' fill='none'/%3E%3C/svg%3E"
)


def assemble(runs: Sequence[RunFiles], pages: Sequence[Page], *, live: str = "") -> str:
    """The report of some runs. `live` is the address below which a server tells what is new; empty for a file."""
    script = "\n".join([asset("report.js"), *(page.script for page in pages if page.script), "report.start();"])
    style = "\n".join([asset("report.css"), *(page.style for page in pages if page.style)])
    title = " · ".join(run.name for run in runs)
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy(script, live)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">',
            f'<meta name="generator" content="gatewise {VERSION}"><link rel="icon" href="{ICON}">',
            f"<title>{escape(title)} · Gatewise</title><style>{style}</style></head>",
            f'<body data-live="{escape(live)}">',
            *top(runs, pages),
            "<main>",
            *(section(page) for page in pages),
            "</main>",
            '<noscript><p class="note">This report draws its charts with JavaScript, which is switched off.</p></noscript>',
            *(block for page in pages for block in data_blocks(page)),
            f'<script type="application/x-packed" id="plotly">{plotly()}</script>',
            f"<script>{script}</script></body></html>\n",
        ]
    )


def policy(script: str, live: str) -> str:
    """The content security policy: no network, and no script but this one and Plotly, which it unpacks into a blob."""
    known = b64encode(sha256(script.encode("utf-8")).digest()).decode("ascii")
    reach = "'self'" if live else "'none'"
    return (
        f"default-src 'none'; script-src 'sha256-{known}' blob:; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {reach}; base-uri 'none'; form-action 'none'"
    )


def top(runs: Sequence[RunFiles], pages: Sequence[Page]) -> Iterator[str]:
    """The bar with the runs and the tabs."""
    yield '<header><div class="bar"><div class="names">'
    for place, run in enumerate(runs):
        done = f"step {run.step}" + (f" of {run.steps}" if run.steps else "")
        state = escape(run.state)
        yield (
            f'<span class="run"><i class="dot run-{place % 8}"></i><b dir="auto">{escape(run.name)}</b> '
            f'<span class="state {state.replace(" ", "-")}">{state}</span> <span class="quiet">{done}</span></span>'
        )
    yield '</div><button id="theme" type="button" title="light or dark" aria-label="light or dark">◐</button></div><nav role="tablist">'
    for page in pages:
        name = escape(page.name)
        yield f'<a role="tab" href="#{name}" id="tab-{name}" aria-controls="page-{name}">{escape(page.title)}</a>'
    yield "</nav></header>"


def section(page: Page) -> str:
    name = escape(page.name)
    return f'<section id="page-{name}" role="tabpanel" aria-labelledby="tab-{name}" hidden>{page.html}</section>'


def data_blocks(page: Page) -> Iterator[str]:
    """The packed data of a page."""
    charts = {chart.id: chart.figure for chart in page.charts}
    yield block(f"data-{page.name}", {"charts": charts, "data": page.data})
    yield from (block(f"more-{page.name}-{key}", value) for key, value in page.more.items())


def block(name: str, value: object) -> str:
    return f'<script type="application/x-packed" id="{escape(name)}">{packed(value)}</script>'
