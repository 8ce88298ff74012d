"""One real row, scored as in the run: in a worker with its limits, by the row's checker, all parts and weights.

The response is the right answer that the checker makes from the reference; for a function of the user's it is the reference itself.
"""

import asyncio
import json
from collections.abc import Sequence

from cluster.commands.rewards.gold_check import Fields, gold_item, shorten
from configs.schema import Config
from reward.asked import Asked
from reward.checkers import SERVICES
from reward.scorer import Scorer, used_checkers
from reward.workers.pool import Item
from rollout.dataset import Row
from rollout.prompts import PromptSet
from rollout.types import Prompt, Verdict


def own_functions(config: Config) -> list[str]:
    """The functions of the user's that the config names."""
    return [name for name in used_checkers(config) if ":" in name]


def score_first_row(config: Config, prompts: PromptSet) -> tuple[str, bool]:
    """A line about the first row's score, and whether it is as it should be; ValueError if a function of the user's fails on it."""
    prompt = prompts.prompts[0]
    where = prompts.where.get(prompt.prompt_id, "the first row")
    if far := [name for name in (prompt.checker, *used_checkers(config)) if name in SERVICES]:
        return f"no row was scored here, because {far[0]} is a service and answers cost money", True
    response = right_answer(prompt)
    if response is None:
        return f"no row was scored here, because {prompt.checker} cannot make a right answer from a reference", True
    (verdict,) = asyncio.run(score(config, [asked_of(prompt, response)]))
    own = own_functions(config)
    said = f"{where}, {prompt.checker}: response {shorten(response)} to reference {shorten(prompt.reference)}"
    if verdict.reward is None:
        if own:
            raise ValueError(f"{', '.join(own)} fails on {said}: {verdict.failure}: correct the function, or the row")
        return f"{said} has no reward ({verdict.failure})", False
    parts = ", ".join(f"{name} {value:g}" for name, value in verdict.parts.items())
    return f"{said} → reward {verdict.reward:g} ({parts})", ":" in prompt.checker or verdict.parts.get("correct", 1.0) >= 1


def right_answer(prompt: Prompt) -> str | None:
    """A response that should be right, None where the checker determines none."""
    fields = Fields(checker=prompt.checker, reference="reference", named_checker=None, solution=None)
    found = gold_item(Row("", {"reference": prompt.reference}), fields)
    if isinstance(found, Item):
        return found.response
    if ":" not in prompt.checker:
        return None
    return prompt.reference if isinstance(prompt.reference, str) else json.dumps(prompt.reference)


def asked_of(prompt: Prompt, response: str) -> Asked:
    return Asked(checker=prompt.checker, response=response, reference=prompt.reference, tokens=1, prompt=prompt.text)


async def score(config: Config, asked: Sequence[Asked]) -> list[Verdict]:
    """The verdicts of one worker with the limits of the run."""
    alone = config.model_copy(update={"reward": config.reward.model_copy(update={"workers": 1})})
    async with Scorer(alone, named_by_rows=sorted({one.checker for one in asked})) as scorer:
        return await scorer.score(asked)
