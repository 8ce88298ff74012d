"""One episode from a config's row to its reward, asked about and scored as in a run, but without Ray."""

import asyncio
import gc
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

from cluster.actors.fleet.group_work import GroupWork, Responding
from cluster.actors.fleet.questions import Questions
from cluster.commands.checks.rewards import worker_starts
from cluster.commands.play.lines import Left, Lines
from cluster.commands.play.row import TRAIN, find_prompt, sets_of
from cluster.commands.play.screen import Screen
from cluster.commands.validate import Examined, examine
from cluster.models.hub import fetch_models
from configs.arithmetic import counted
from configs.schema import Config
from reward.scorer import Scorer
from rollout.engine.pulse import GroupAtWork
from rollout.types import Prompt

GREEDY = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is played, and by whom."""

    row: str
    among: str = TRAIN  # the name of a set of prompts
    engine: bool = False  # else a person is the model
    greedy: bool = False
    to_the_end: bool = False  # the engine does not wait between turns


class InProcess:
    """What asks a reward actor, in front of the scorer itself."""

    def __init__(self, scorer: Scorer) -> None:
        self.score, self.reply = SimpleNamespace(remote=scorer.score), SimpleNamespace(remote=scorer.reply)

        async def leave(episodes: Sequence[str]) -> None:
            scorer.leave(episodes)

        self.leave = SimpleNamespace(remote=leave)


def play(config: Config, wanted: Wanted, screen: Screen, lines: Lines) -> None:
    """Play one episode; InputError before anything starts where it cannot be played."""
    config = fetch_models(config, screen.say)
    examined = examine(config, here=wanted.engine)
    examined.found.refuse()
    checked, tokenizer = examined.checked, examined.tokenizer
    prompt = find_prompt(sets_of(checked), wanted.among, wanted.row)
    screen.prompt(prompt, tokenizer)
    try:
        _play(config, prompt, wanted, examined, screen, lines)
    except Left:
        screen.line("left", f"after {counted(screen.asked, 'answered turn')}, before the end: no reward")
    finally:
        gc.collect()  # vLLM shuts an engine down once more when it is collected, which must not be while Python ends


def _play(config: Config, prompt: Prompt, wanted: Wanted, examined: Examined, screen: Screen, lines: Lines) -> None:
    with speaking(config, wanted, examined, screen, lines) as speaker:
        asyncio.run(_episode(config, prompt, wanted, screen, speaker))


@contextmanager
def speaking(config: Config, wanted: Wanted, examined: Examined, screen: Screen, lines: Lines) -> Iterator[Responding]:
    """Whoever is the model."""
    if wanted.engine:
        from cluster.commands.play.engine import Spoken, started

        with started(config, examined.checked.chat) as engine:
            yield Spoken(engine, lines if lines.live and not wanted.to_the_end else None, screen)
    else:
        from cluster.commands.play.person import Person
        from rollout.chat.reply_tokens import ReplyTokens
        from rollout.chat.stops import stops_of

        tokenizer = examined.tokenizer
        stops = stops_of(config, tokenizer)
        screen.line("you", 'are the model: a line is a turn, """ begins and ends one of several lines, Ctrl-D leaves')
        yield Person(config, tokenizer, stops, ReplyTokens(config, tokenizer, stops, examined.checked.chat), lines, screen)


async def _episode(config: Config, prompt: Prompt, wanted: Wanted, screen: Screen, speaker: Responding) -> None:
    evaluated = wanted.among != TRAIN
    heat = GREEDY if wanted.greedy else float(config.rollout.temperature) if evaluated else None
    async with AsyncExitStack() as stack:
        with worker_starts(config):
            scorer = await stack.enter_async_context(Scorer(config, named_by_rows=[prompt.checker]))
        questions = Questions(config, InProcess(scorer))
        mine = GroupAtWork(0, evaluated=evaluated)
        group, _ = await GroupWork(questions, mine, prompt, scorer.wants, size=1, engine="play").run(speaker, heat)
    screen.end(group.responses[0], config.rollout)
    screen.verdict(prompt, group.verdicts[0])
