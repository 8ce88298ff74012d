"""Rewards scored again: the responses that a run kept, with its own checkers, against the rewards that it learned from."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from cluster.commands.rewards.audit import score_again
from cluster.commands.rewards.kept import Kept, config_of_run, read_kept
from cluster.record.audit.account import Account
from cluster.record.audit.invariant import Invariant
from configs.arithmetic import counted
from configs.errors import RewardError
from configs.schema import Config
from reward.checkers import SERVICES, checkers_for_data

JUDGED_BY = ("reward", "code", "judge", "http")  # the tables of a config that a reward follows from

Progress = Callable[[int, int], None]


def rescore(folder: Path, account: Account, found: Invariant, progress: Progress) -> None:
    """Add to the invariant of rewards what a second scoring shows. What cannot be scored again is named with the reason.

    A user's own functions run as in training: in the processes of the reward workers, with the limits of the config. Services are not
    asked: they cost money and may answer otherwise.
    """
    config = config_of_run(folder)
    try:
        kept, _ = read_kept(folder)
    except ValueError as error:
        found.unchecked.append(str(error))
        return
    kept = _judged_alike(account, config, _of_standing_steps(account, kept), found)
    if not kept:
        return
    if named := _services(config):
        found.unchecked.append(f"{counted(len(kept), 'reward')}: {', '.join(named)} is a service; `rewards audit` asks it again")
        return
    try:
        report = asyncio.run(score_again(config, kept, progress)).report(made=len(kept))
    except (RewardError, ValueError, RuntimeError) as error:  # code that is gone or cannot be imported any more
        found.unchecked.append(f"{counted(len(kept), 'reward')}: the scorer does not start: {error}")
        return
    wrong = [*report.diverged, *report.different]
    found.check_all(report.same + len(wrong) + report.failed_again, wrong)
    found.unchecked += [*report.now_scored, *report.now_failed]
    if report.alone:
        found.unchecked.append(
            f"{counted(report.alone, 'reward')}: a function asks for the whole group, of which the run kept a part "
            "(run.sample_responses = groups_per_step × group_size keeps all)"
        )
    if report.held:
        found.unchecked.append(f"{counted(report.held, 'reward')}: a held environment is not run again")
    if report.tool_answers:
        found.unchecked.append(f"{counted(report.tool_answers, 'answer')} of tools: taken from the transcripts, not asked again")
    found.found["scored again"] = report.kept
    if report.episodes:
        found.found["episodes run again"] = report.episodes


def _of_standing_steps(account: Account, kept: Sequence[Kept]) -> list[Kept]:
    standing = set(account.standing)
    return [one for one in kept if one.step in standing]


def _judged_alike(account: Account, config: Config, kept: Sequence[Kept], found: Invariant) -> list[Kept]:
    """The responses that the newest config's checkers scored: those of earlier rewards are named, and so are those of unknown code."""
    changed = [attempt for attempt, key, *_ in account.changes if key.split(".")[0] in JUDGED_BY]
    of_step = {row.step: row.attempt for row in account.steps if not row.undone}
    alike = [one for one in kept if of_step[one.step] >= max(changed, default=0)]
    if len(alike) < len(kept):
        key = next(key for attempt, key, *_ in account.changes if attempt == max(changed) and key.split(".")[0] in JUDGED_BY)
        found.unchecked.append(f"{counted(len(kept) - len(alike), 'reward')}: attempt {max(changed)} changed {key}")
    allowed = {*checkers_for_data(config.reward.checker), *config.data.own_checkers}
    foreign = [one for one in alike if one.row["checker"] not in allowed]
    found.check_all(len(foreign), (f"{one.where}: the run's config names no such code" for one in foreign))
    named = {name for name in SERVICES if name not in _services(config)}
    asked = [one for one in alike if one.row["checker"] in named]
    if asked:
        found.unchecked.append(f"{counted(len(asked), 'reward')}: the row's checker is a service; `rewards audit` asks it again")
    left = {id(one) for one in (*foreign, *asked)}
    return [one for one in alike if id(one) not in left]


def _services(config: Config) -> list[str]:
    """The services that every reward of the run follows from."""
    named = [config.reward.checker, *(part.checker or name for name, part in config.reward.parts.items())]
    return sorted(set(named) & set(SERVICES))
