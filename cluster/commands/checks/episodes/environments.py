"""Tries an environment before a run: its gold turns, its first words to a few responses, and whether it says the same twice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster.commands.checks.episodes.tries import ERROR, MISTAKES, OTHER_RESPONSES, SHOWN_CHARS, SLIPS
from configs.arithmetic import counted
from configs.errors import in_one_line
from reward.asked import HELD, YIELDS
from reward.episodes.transcript import Past
from reward.gold import as_episode, gold_turns, whole_episode
from reward.own.returns import NEVER_RETURNS
from reward.workers.pool import Item, RewardPool
from rollout.types import Outcome, Verdict

RULES = (f"{ERROR}the environment ",)  # what breaks a rule of episodes
LATE = "timeout: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One question to an environment, in words, with its item."""

    what: str
    item: Item


def is_environment(pool: RewardPool, name: str) -> bool:
    """Whether a function of the user's yields."""
    return YIELDS in pool.asks.get(name, ())


async def try_environment(pool: RewardPool, name: str, samples: Sequence[tuple[str, Item]]) -> str:
    """The line about one environment; ValueError where it breaks a rule of episodes, fails whatever the model says, or has a slip."""
    where, item = samples[0]
    line = f"{name}: {'held ' if HELD in pool.asks[name] else ''}environment; {await play_gold(pool, name, where, item)}"
    first = [Try(what=f"{said[:SHOWN_CHARS]!r}", item=as_episode(item, [Past(said)])) for said in (item.response, *OTHER_RESPONSES)]
    verdicts = await pool.score([one.item for one in first])
    later = [] if HELD in pool.asks[name] else second_turns(item, verdicts)
    over = [Try(what=f"{one.what} and no turn left", item=whole_episode(item, [one.item.response])) for one in first]
    tried = [*first, *later, *over]
    found = [*verdicts, *await pool.score([one.item for one in (*later, *over)])]
    late = [verdict.outcome is Outcome.TIMED_OUT and HELD in pool.asks[name] for verdict in found]  # in a run it has longer to start
    failed = [(one.what, verdict) for one, verdict, is_late in zip(tried, found, late, strict=True) if not is_late]
    failures = [(what, in_one_line(verdict.failure)) for what, verdict in failed if verdict.failure]
    if failed:
        refuse_broken(name, where, failures, len(failed))
    says = describe_words(first[0], found[0])
    if NEVER_RETURNS in pool.asks[name]:
        says += (
            "; it has no `return` with a number, so every episode lasts until no turn is left and earns nothing but rewards inside: return "
            "a number where the episode is over"
        )
    if failures:
        what, why = failures[0]
        advice = "make it faster, or raise reward.timeout_s" if why.startswith(LATE) else "answer it in words"
        says += f"; it fails where the model says {what}: {why.removeprefix(ERROR)}: such an episode has no reward, so {advice}"
    return f"{line}{says}"


async def play_gold(pool: RewardPool, name: str, where: str, item: Item) -> str:
    """What came of the gold turns of the first row; ValueError where they do not score 1. Empty where the environment brings none."""
    if "brings gold" not in pool.asks[name]:
        return ""
    (right,) = await pool.score([replace(item, of_reference=True)])
    turns = gold_turns(right.words)
    if not turns:
        return ""
    (played,) = await pool.score([whole_episode(item, turns)])
    if played.outcome is Outcome.TIMED_OUT and HELD in pool.asks[name]:
        return f"the gold turns of {where} were not played: it did not start in reward.timeout_s, as it may take longer in a run; "
    if played.failure or (played.reward or 0.0) < 1.0:
        got = in_one_line(played.failure).removeprefix(ERROR) if played.failure else f"reward {played.reward:g}"
        raise ValueError(
            f"checker {name!r}: the gold turns of {where} got {got}, needed reward 1: correct `gold` or the environment "
            f"(the {counted(len(turns), 'turn')} ended with {turns[-1][:SHOWN_CHARS]!r})"
        )
    return f"{played.reward:g} with the {counted(len(turns), 'gold turn')} of {where}; "


def second_turns(item: Item, verdicts: Sequence[Verdict]) -> list[Try]:
    """The same again with one turn more: the first words must be the same."""
    said = (item.response, *OTHER_RESPONSES)
    return [
        Try(what=f"{first[:SHOWN_CHARS]!r} twice", item=as_episode(item, [Past(first, verdict.words["words"]), Past(first)]))
        for first, verdict in zip(said, verdicts, strict=True)
        if verdict.reward is not None and "words" in verdict.words
    ]


def refuse_broken(name: str, where: str, failures: Sequence[tuple[str, str]], tries: int) -> None:
    """Raise ValueError where an environment cannot be used."""
    broken = next(((what, why) for what, why in failures if why.startswith((*RULES, *SLIPS))), None)
    if broken is None and len(failures) < tries:
        return
    what, why = broken or failures[0]
    advice = "" if broken or why.startswith(MISTAKES) else "; it should answer in words what it cannot read"
    raise ValueError(f"checker {name!r} fails, tried on {where} where the model says {what}: {why.removeprefix(ERROR)}{advice}")


def describe_words(first: Try, verdict: Verdict) -> str:
    """What it says to the first response."""
    if verdict.reward is None:
        return f"{verdict.outcome} where the model says {first.what}"
    if "messages" in verdict.words:
        return f"it rewrites the context where the model says {first.what}"
    if (words := verdict.words.get("words")) is None:
        return f"the episode ends with {verdict.reward:g} where the model says {first.what}"
    return f"it says {words[:SHOWN_CHARS]!r} where the model says {first.what}"
