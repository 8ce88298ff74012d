"""Scores the responses of a capsule again, as the run did, and compares every verdict."""

import asyncio
from collections.abc import Iterator

from cluster.commands.replay.found import Check
from cluster.commands.rewards.kept import Kept, asked_again, refuse_other_code, whole_groups
from cluster.record.capsules.groups import Member, floats
from cluster.record.capsules.read import Capsule
from configs.arithmetic import counted
from configs.schema import Config
from reward.checkers import SERVICES
from rollout.types import GroupSummary, Outcome, Verdict

AT_ONCE = 512


def check_rewards(capsule: Capsule, config: Config) -> Check:
    """The reward of every response and its parts, from the row's own checker; and whether the plan saw these rewards."""
    check = Check("rewards")
    lost = sum(group.members is None for group in capsule.groups)
    if lost:
        check.left_out.append(f"the words of {counted(lost, 'group')} were lost with an engine's node")
    members = [(group, member) for group in capsule.groups for member in group.members or ()]
    for group, member in members:
        compare_with_the_plan(check, f"group {group.group_id}, response {member.line['member']}", group.summary, member)
    scored = [Kept(step=capsule.step, row=dict(member.line)) for _, member in members]
    refuse_other_code(config, scored)
    verdicts = {id(one): member.verdict for one, (_, member) in zip(scored, members, strict=True)}
    able = [one for one in scored if verdicts[id(one)].outcome is Outcome.SCORED]
    if failed := len(scored) - len(able):
        check.left_out.append(f"{failed} had no reward")
    if asked := sorted({*_named(config), *(one.row["checker"] for one in able)} & set(SERVICES)):
        check.left_out.append(f"{', '.join(asked)} is a service")
        return check
    if able:
        again = asyncio.run(score(config, capsule, able, check))
        check.compared = counted(len(again), "reward")
        for one, now in again:
            compare_verdicts(check, f"group {one.row['group']}, response {one.row['member']}", verdicts[id(one)], now)
    return check


def _named(config: Config) -> Iterator[str]:
    """The checkers that score every response."""
    return (part.checker or name for name, part in config.reward.parts.items())


async def score(config: Config, capsule: Capsule, able: list[Kept], check: Check) -> list[tuple[Kept, Verdict]]:
    """The new verdicts of the responses that can be scored here."""
    from reward.scorer import Scorer

    # The second checker's verdicts are no part of a reward.
    config = config.model_copy(update={"reward": config.reward.model_copy(update={"second": None})})
    texts = [Kept(step=capsule.step, row=dict(member.line)) for group in capsule.groups for member in group.members or ()]
    groups = whole_groups(texts, config.rollout.group_size)
    found: list[tuple[Kept, Verdict]] = []
    async with Scorer(config, named_by_rows=sorted({one.row["checker"] for one in able})) as scorer:
        held = {name for name in {one.row["checker"] for one in able} if scorer.episodes.is_held(name) or scorer.wants.agent(name)}
        free = [one for one in able if one.row["checker"] not in held]
        whole = [one for one in free if one.key in groups or "group" not in scorer.wants.of(one.row["checker"])]
        for start in range(0, len(whole), AT_ONCE):
            some = whole[start : start + AT_ONCE]
            found += zip(some, await scorer.score([asked_again(config, one, groups.get(one.key, ())) for one in some]), strict=True)
    if kept := len(able) - len(free):
        check.left_out.append(f"{kept} of held environments or agents, which cannot be run again")
    if alone := len(free) - len(whole):
        check.left_out.append(f"{alone} whose checker asks for a group that is not whole")
    return found


def compare_verdicts(check: Check, where: str, before: Verdict, now: Verdict) -> None:
    """The reward, its parts and the rewards of turns."""
    if now.reward is None:
        check.different.append(f"{where}: recorded reward {before.reward:.9g}, now {now.outcome}: {now.failure}")
        return
    check.compare(f"{where}: reward", before.reward or 0.0, now.reward)
    for name in sorted({*before.parts, *now.parts} - {"second"}):
        check.compare(f"{where}: part {name}", before.parts.get(name, float("nan")), now.parts.get(name, float("nan")))
    check.compare(lambda place: f"{where}: reward of turn {''.join(map(str, place))}", before.turn_rewards, now.turn_rewards)


def compare_with_the_plan(check: Check, where: str, summary: GroupSummary, member: Member) -> None:
    """Whether the summary, from which advantages follow, has the verdict's numbers."""
    place, verdict, nan = int(member.line["member"]), member.verdict, float("nan")
    reward = nan if verdict.reward is None else verdict.reward
    check.compare(f"{where}: reward in the plan", reward, summary.rewards[place])
    check.compare(f"{where}: correctness in the plan", verdict.parts.get("correct", reward), summary.correct[place])
    for name, values in summary.parts.items():
        check.compare(f"{where}: part {name} in the plan", verdict.parts.get(name, nan), values[place])
    if verdict.turn_rewards and summary.turn_rewards is not None:
        check.compare(f"{where}: rewards of turns in the plan", floats(verdict.turn_rewards), summary.turn_rewards[place])
