"""The pages of a report, in the order of their tabs. A new page is a file here and its row."""

from collections.abc import Callable, Sequence

from cluster.report.files import RunFiles
from cluster.report.page import Page
from cluster.report.pages.overview import overview

MakePage = Callable[[Sequence[RunFiles]], Page]

PAGES: Sequence[MakePage] = (overview,)
