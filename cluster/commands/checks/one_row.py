"""One real row, scored as in the run: in a worker with its limits, by the row's checker, all parts and weights.

The response is the right answer that the checker makes from the reference; for a function of the user's it is the reference itself.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.commands.checks.rewards import as_response, asked_of, worker_starts
from cluster.commands.rewards.gold_check import RIGHT, Fields, gold_item, shorten
from configs.errors import in_one_line
from configs.schema import Config
from reward.asked import Asked
from reward.checkers import SERVICES
from reward.own.name import is_own
from reward.scorer import Scorer, used_checkers
from reward.thinking import ends_within
from reward.workers.pool import Item
from rollout.data.row import Row
from rollout.prompts.prompts import PromptSet
from rollout.types import Prompt, Verdict


@dataclass(frozen=True, slots=True)
class Scored:
    """A row's score in words, and what is wrong with it, if anything."""

    line: str
    warning: str | None = None


def score_first_row(config: Config, prompts: PromptSet) -> Scored:
    """Score the first row's right answer."""
    prompt = prompts.prompts[0]
    if far := [name for name in (prompt.checker, *used_checkers(config)) if name in SERVICES]:
        return Scored(f"no row was scored here, because {far[0]} is a service and its answers may cost money")
    response = right_answer(prompt)
    if response is None:
        return Scored(f"no row was scored here, because {prompt.checker} cannot make a right answer from a reference")
    with worker_starts(config):
        (verdict,) = asyncio.run(score(config, [asked_of(prompt, continued(config, prompt, response))]))
    where = prompts.where.get(prompt.prompt_id, "the first row")
    after = f"after the prefill {shorten(prompt.prefill)}, " if prompt.prefill else ""
    said = f"{where}, {prompt.checker}: {after}response {shorten(response)} to reference {shorten(prompt.reference)}"
    if verdict.reward is None:
        line = f"{said} has no reward ({in_one_line(str(verdict.failure))})"
        return Scored(line, f"{line}: the run learns nothing from such responses")
    parts = ", ".join(f"{name} {value:g}" for name, value in verdict.parts.items())
    line = f"{said} → reward {verdict.reward:g} ({parts})"
    wrong = not is_own(prompt.checker) and verdict.parts.get("correct", RIGHT) < RIGHT
    return Scored(line, f"the right answer of a row does not score 1: {line}" if wrong else None)


def right_answer(prompt: Prompt) -> str | None:
    """A response that should be right, None where the checker determines none."""
    fields = Fields(checker=prompt.checker, reference="reference", named_checker=None, solution=None)
    found = gold_item(Row("", {"reference": prompt.reference}), fields)
    if isinstance(found, Item) and not found.of_reference:
        return found.response
    return as_response(prompt.reference) if is_own(prompt.checker) else None


def continued(config: Config, prompt: Prompt, right: str) -> str:
    """The right answer as it follows the prompt: it first ends the thought that the prompt opened, and continues the prefill."""
    marks = config.reward.thinking_marks
    within = ends_within(prompt.text, prompt.prefill, marks)
    return f"{marks[1]}\n\n{right}" if within else right.removeprefix(prompt.prefill)


async def score(config: Config, asked: Sequence[Asked]) -> list[Verdict]:
    """The verdicts of one worker with the limits of the run."""
    alone = config.model_copy(update={"reward": config.reward.model_copy(update={"workers": 1})})
    async with Scorer(alone, named_by_rows=sorted({one.checker for one in asked})) as scorer:
        return await scorer.score(asked)
