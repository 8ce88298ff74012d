"""The pages of a report, in the order of their tabs. A new page is a file here and its row."""

from collections.abc import Callable, Sequence

from cluster.report.files import RunFiles
from cluster.report.page import Page
from cluster.report.pages.compare import compare
from cluster.report.pages.experts import experts
from cluster.report.pages.overview import overview
from cluster.report.pages.prompts import prompts
from cluster.report.pages.responses import responses
from cluster.report.pages.rewards import rewards
from cluster.report.pages.time import time

MakePage = Callable[[Sequence[RunFiles]], Page]

PAGES: Sequence[MakePage] = (overview, responses, experts, time, rewards, prompts, compare)
