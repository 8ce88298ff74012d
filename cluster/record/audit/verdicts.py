"""Rewards, as far as the ledger knows them: what was kept of a group agrees with the group's account."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from cluster.record.audit.account import Account, GroupRow
from cluster.record.audit.episodes import wrong_episode
from cluster.record.audit.files import Files
from cluster.record.audit.invariant import Invariant

CLOSE = 1e-9  # the ledger's mean was summed in another order


def check_rewards(account: Account, files: Files) -> Invariant:
    """Whether kept responses belong to groups of their step, and whole groups have the mean reward of the ledger."""
    found = Invariant(name="rewards", claim="kept responses have the rewards that were learned")
    learned = {(row.step, row.group_id): row for row in account.groups if row.outcome == "learned"}
    standing, whole, episodes = set(account.standing), 0, 0
    for step, lines in files.responses.items():
        if step not in standing:
            continue
        groups: dict[int, dict[int, dict[str, Any]]] = {}
        for row in lines.rows:
            member = groups.setdefault(row["group"], {})
            if row["member"] in member:
                found.violations.append(f"{lines.name} has member {row['member']} of group {row['group']} twice")
            member[row["member"]] = row
        for group, members in groups.items():
            account_of = learned.get((step, group))
            settings = None if account_of is None else account.settings.get(account_of.attempt)
            size = settings.group_size if settings else None
            found.check_all(len(members), _wrong_group(lines.name, group, account_of, list(members.values()), size))
            whole += len(members) == size
            if account_of is None:
                continue
            for number, kept in members.items():
                where = f"{lines.name}, group {group}, member {number}"
                found.violations += wrong_episode(where, kept, account_of, settings.max_staleness if settings else None)
                episodes += "turns" in kept
    if not found.checked:
        found.unchecked.append("no response of a step that stands is kept")
    found.found = {"groups kept whole": whole} | ({"episodes": episodes} if episodes else {})
    return found


def _wrong_group(name: str, group: int, row: GroupRow | None, kept: Sequence[dict[str, Any]], size: int | None) -> Iterator[str]:
    where = f"{name}, group {group}"
    if row is None:
        yield f"{where}: the ledger has no such group of this step"
        return
    for one in kept:
        reward, scored = one["reward"], one["outcome"] == "scored"
        if one["prompt_id"] is not None and one["prompt_id"] != row.prompt_id:
            yield f"{where}, member {one['member']}: prompt {one['prompt_id']}, and the ledger has prompt {row.prompt_id}"
        if not (isinstance(reward, int | float) and math.isfinite(reward)) if scored else reward is not None:
            yield f"{where}, member {one['member']}: reward {reward} with outcome {one['outcome']}"
            return
        if size is not None and not 0 <= one["member"] < size:
            yield f"{where}: member {one['member']} of a group of {size}"
    rewards = [one["reward"] for one in kept if one["reward"] is not None]
    if row.unscored is not None and len(kept) - len(rewards) > row.unscored:
        yield f"{where}: {len(kept) - len(rewards)} kept responses without a reward, and the ledger counts {row.unscored}"
    if len(kept) == size and rewards and row.reward is not None:
        mean = sum(rewards) / len(rewards)
        if not math.isclose(mean, row.reward, rel_tol=CLOSE, abs_tol=CLOSE):
            yield f"{where}: mean reward {mean:g}, and the ledger has {row.reward:g}"
