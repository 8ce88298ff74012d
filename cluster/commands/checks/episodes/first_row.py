"""One real row played as an episode: its gold turns, or its reference, with what is answered, as the tokens that the model reads."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from cluster.commands.checks.one_row import continued
from cluster.commands.checks.rewards import as_response, asked_of, worker_starts
from cluster.commands.rewards.gold_check import shorten
from configs.errors import in_one_line
from configs.schema import Config
from reward.gold import gold_turns
from reward.scorer import Scorer
from reward.workers.pool import Item
from rollout.chat.fitting import fit
from rollout.chat.reply_tokens import ReplyTokens
from rollout.transcript.episode import Turn
from rollout.types import Prompt

SHOWN_IDS = 24
SAMPLE = "RESULT"


def play_row(config: Config, prompt: Prompt, speller: ReplyTokens) -> list[str]:
    """Lines about the episode of a row whose checker is an environment."""

    async def lines() -> list[str]:
        return [line async for line in episode(config, prompt, speller.for_prompt(prompt))]

    with worker_starts(config):
        return asyncio.run(lines())


async def episode(config: Config, prompt: Prompt, speller: ReplyTokens) -> AsyncIterator[str]:
    """Ask the environment as a run does, and score what came of it."""
    alone = config.model_copy(update={"reward": config.reward.model_copy(update={"workers": 1})})
    async with Scorer(alone, named_by_rows=[prompt.checker]) as scorer:
        said, what = await right_turns(scorer, prompt)
        yield f"{prompt.where}, {prompt.checker}: {what} as turns of the model, after {len(prompt.token_ids)} tokens of the prompt"
        turns: list[Turn] = []
        asked, ended = asked_of(prompt, said[0]), False
        for right in said[: config.rollout.max_turns]:
            text = continued(config, prompt, right)
            yield described("model sampled", [*encoded(speller, text), speller.last_token], speller)
            turns.append(Turn(said=text))
            asked = replace(asked_of(prompt, text), turns=tuple(turns), episode="validate")
            (answer,) = await scorer.reply([asked])
            if answer.words is not None:
                words, ids = fit(answer.words, config.rollout.max_reply_tokens, spelled(speller, answer.role))
                yield described("model is told", ids, speller)
                answer = replace(answer, words=words)
            elif answer.rewritten is not None:
                yield described("model goes on after", speller.context(answer.rewritten), speller)
            turns[-1] = Turn(said=text, answer=answer)
            if ended := answer.ends:
                break
        (verdict,) = await scorer.score([replace(asked, turns=tuple(turns), over=not ended)])
        how = "the environment ends the episode" if ended else "the model has no further turn here"
        scored = f"reward {verdict.reward:g}" if verdict.reward is not None else f"no reward ({in_one_line(str(verdict.failure))})"
        yield f"{how}: {scored}"
        await asyncio.to_thread(scorer.episodes.leave, ["validate"])


async def right_turns(scorer: Scorer, prompt: Prompt) -> tuple[list[str], str]:
    """The gold turns that the environment brings, else the reference as the only turn."""
    item = Item(checker=prompt.checker, response="", reference=prompt.reference, of_reference=True)
    if "brings gold" in scorer.pool.asks.get(prompt.checker, ()):
        (right,) = await scorer.pool.score([item])
        if turns := gold_turns(right.words):
            return turns, "its gold turns"
    response = as_response(prompt.reference)
    return [response], f"its reference {shorten(response)}"


def sample_result(prompt: Prompt, speller: ReplyTokens) -> list[str]:
    """A line about the result of a tool, which nobody calls here."""
    own = speller.for_prompt(prompt)
    return [described(f"after a call {shorten(SAMPLE)} is told as", own.of(SAMPLE, "", own.last_token), own)]


def spelled(speller: ReplyTokens, role: str) -> Any:
    return lambda words: speller.of(words, role, speller.last_token)


def encoded(speller: ReplyTokens, text: str) -> list[int]:
    ids: list[int] = speller.tokenizer.encode(text, add_special_tokens=False)
    return ids


def described(who: str, ids: Sequence[int], speller: ReplyTokens) -> str:
    """Tokens as text and as ids."""
    text = speller.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    shown = ", ".join(map(str, ids[:SHOWN_IDS])) + (", …" if len(ids) > SHOWN_IDS else "")
    return f"{who} {shorten(text)}: {len(ids)} ids [{shown}]"
