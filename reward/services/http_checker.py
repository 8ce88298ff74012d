"""The checker "http": a service of the user's own scores the response.

It gets POST {"prompt": text, "response": text, "reference": any JSON value} and answers {"score": number}; other keys are ignored.
"""

import json
import math

from configs.sections.reward import HttpConfig
from reward.json_value import sendable
from reward.services.answer import Answer
from reward.services.endpoint import Endpoint, NoAnswer
from reward.workers.tasks import Item

PROBE_BYTES = 1 << 24


class HttpChecker:
    """Asks the service of `[http]` for a score."""

    def __init__(self, config: HttpConfig) -> None:
        self.endpoint = Endpoint("http", config)

    async def score(self, item: Item) -> Answer:
        """The service's score; NoAnswer where it is not a finite number."""
        body = {"prompt": sendable(item.prompt), "response": sendable(item.response), "reference": item.reference}
        answer = await self.endpoint.ask("", body)
        score = answer.get("score") if isinstance(answer, dict) else None
        if isinstance(score, bool) or not isinstance(score, int | float) or not _is_finite(score):
            raise self.endpoint.no_answer(f'answered no {{"score": finite number}}: {self.endpoint.shown(json.dumps(answer))}')
        return Answer(score=float(score))

    async def probe(self) -> str:
        """A line that says that the service answers, with any status; NoAnswer where nothing answers."""
        try:
            await self.endpoint.fetch("HEAD", "", PROBE_BYTES)
        except NoAnswer as error:
            if error.status is None:
                raise
            return f"http at {self.endpoint.url} answers (HTTP {error.status} to a HEAD)"
        return f"http at {self.endpoint.url} answers"


def _is_finite(score: float) -> bool:
    try:
        return math.isfinite(score)
    except OverflowError:  # a whole number too large for a float
        return False
