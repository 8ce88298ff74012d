"""The checker "judge": a language model behind an OpenAI-compatible endpoint grades the response.

The score is the last line of the judge's own answer, "score: N". The judge gets the response between two marks that the response cannot
contain, so the response cannot pretend to have ended. A score inside the response is never read.
"""

import hashlib
import json
import re

import httpx

from configs.digits import write_long_json
from configs.sections.reward import JUDGE_PLACEHOLDERS, JudgeConfig
from reward.json_value import sendable
from reward.services.answer import Answer
from reward.services.endpoint import Endpoint, NoAnswer
from reward.workers.tasks import Item

PLACEHOLDER = re.compile(rf"\{{({'|'.join(JUDGE_PLACEHOLDERS)})\}}")
SCORE_LINE = re.compile(r"[*_`\s]*score[*_`\s]*:[*_`\s]*(\d+\.?\d*|\.\d+)[*_`\s.]*", re.IGNORECASE)
LONGEST_SCORE_LINE = 80
MODELS_BYTES = 1 << 24
SHOWN_MODELS = 20


class Judge:
    """Asks the model of `[judge]` for a score between 0 and 1."""

    def __init__(self, config: JudgeConfig) -> None:
        self.config = config
        self.endpoint = Endpoint("judge", config)
        if config.model is None:
            self.endpoint.problem = self.endpoint.problem or "judge.model is not set: name the model that the endpoint is to use"

    async def score(self, item: Item) -> Answer:
        """The judge's score and its words; NoAnswer where it gives no score. No second try: at temperature 0 it would repeat itself."""
        body = {
            "model": self.config.model,
            "messages": [{"role": "user", "content": fill(self.config.prompt, item)}],
            "temperature": 0,
            "max_tokens": self.config.max_tokens,
        }
        match await self.endpoint.ask("/chat/completions", body):
            case {"choices": [{"message": {"content": str(answer)}, **rest}, *_]}:
                if rest.get("finish_reason") == "length":
                    raise self._no_score("was cut off before its score: raise judge.max_tokens", answer)
                if (score := read_score(answer)) is None:
                    raise self._no_score('gave no last line "score: N" with N between 0 and 1', answer)
                return Answer(score=score, words=self.endpoint.words(answer))
            case other:
                raise self._no_score("answered without choices[0].message.content", json.dumps(other))

    def _no_score(self, why: str, answer: str) -> NoAnswer:
        failed = self.endpoint.no_answer(f"the judge gave no score: it {why}: {self.endpoint.shown(answer, tail=True)}")
        failed.words = self.endpoint.words(answer)
        return failed

    async def probe(self) -> str:
        """A line that says that the judge answers; NoAnswer where it does not, refuses the key, or has no such model."""
        try:
            body = await self.endpoint.fetch("GET", "/models", MODELS_BYTES)
        except NoAnswer as error:
            if error.status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                advice = "the key was refused: export the right one in the variable that judge.key_env names"
                raise NoAnswer(f"{error}; {advice}", status=error.status) from None
            if error.status is None or httpx.codes.is_redirect(error.status) or httpx.codes.is_server_error(error.status):
                raise
            return f"judge at {self.endpoint.url} answers; it lists no models, so judge.model was not checked"
        models = listed_models(body)
        if models and self.config.model not in models:
            shown = ", ".join(models[:SHOWN_MODELS]) + (", …" if len(models) > SHOWN_MODELS else "")
            missing = f"{self.endpoint.url} has no model {self.config.model!r}: set judge.model to one of {shown}"
            raise self.endpoint.no_answer(missing, status=httpx.codes.OK)
        return f"judge at {self.endpoint.url} answers" + (f" and has {self.config.model}" if models else "; it lists no models")


def fill(template: str, item: Item) -> str:
    """The template with question, reference and marked response filled in, in one pass, so that braces in them stay as they are."""
    reference = item.reference if isinstance(item.reference, str) else write_long_json(item.reference, ensure_ascii=False)
    values = {"prompt": item.question or item.prompt, "reference": reference, "response": marked(sendable(item.response))}
    return sendable(PLACEHOLDER.sub(lambda found: values[found[1]], template))


def marked(response: str) -> str:
    """The response between two lines with a word that it does not contain; equal responses get equal words."""
    number = 0
    while (word := hashlib.sha256(f"{number} {response}".encode()).hexdigest()[:16]) in response:
        number += 1
    return f"<<<begin {word}>>>\n{response}\n<<<end {word}>>>"


def read_score(answer: str) -> float | None:
    """N of an answer whose last line that is not empty is "score: N", 0 <= N <= 1; None for any other answer."""
    lines = answer.strip().splitlines()
    found = SCORE_LINE.fullmatch(lines[-1]) if lines and len(lines[-1]) <= LONGEST_SCORE_LINE else None
    score = float(found[1]) if found else None
    return score if score is not None and 0 <= score <= 1 else None


def listed_models(body: bytes) -> list[str]:
    """The names in an answer to GET /models; none where the answer has another form."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return []
    match answer:
        case {"data": [*models]}:
            return [model["id"] for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
    return []
