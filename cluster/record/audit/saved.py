"""Checkpoints: whole, and at positions that the ledger agrees with."""

from collections.abc import Iterator

from cluster.record.audit.account import Account
from cluster.record.audit.files import Files
from cluster.record.audit.invariant import Invariant
from cluster.record.checkpoint import Position

LISTED = 1000


def check_checkpoints(account: Account, files: Files) -> Invariant:
    """Whether every checkpoint is whole, its step stands, and its groups are settled by then or pending."""
    found = Invariant(name="checkpoints", claim="every checkpoint is whole, and its position agrees with the ledger")
    settled: dict[int, int | None] = {row.group_id: row.step for row in account.groups if row.stands}  # None: rejected
    handed = {row.group_id for row in account.groups}
    standing = set(account.standing)
    for saved in files.checkpoints:
        if saved.position is None:
            found.check(False, f"{saved.name} is damaged: {saved.fault}")
            continue
        found.check(saved.step == saved.position.step, f"{saved.name} holds step {saved.position.step}")
        if not found.check(
            saved.position.step in standing | {account.begins[0]}, f"{saved.name} is of a step that does not stand in the ledger"
        ):
            continue
        found.check_all(saved.position.next_group, _wrong_groups(saved.name, saved.position, settled, handed, account))
    return found


def _wrong_groups(name: str, position: Position, settled: dict[int, int | None], handed: set[int], account: Account) -> Iterator[str]:
    """Groups before `next_group` that are settled too late or not at all, and pending ones that were settled before or are unknown."""
    pending = set(position.pending)
    if len(pending) != len(position.pending):
        yield f"{name} has a pending group twice"
    yield from (f"{name} has group {group} pending, which is not below its next group" for group in pending if group >= position.next_group)
    before = account.begins[1]
    known = 1 + max(handed, default=-1)
    for group in range(min(position.next_group, known)):
        step = settled.get(group)
        if group in pending:
            if step is not None and step <= position.step:
                yield f"{name} has group {group} pending, which step {step} has learned"
        elif group not in settled and group not in before:
            yield f"{name} counts group {group} as settled, and the ledger does not"
        elif step is not None and step > position.step:
            yield f"{name} counts group {group} as settled, and step {step} has learned it"
    if unknown := sorted(set(range(known, min(position.next_group, known + LISTED))) - pending - before):
        yield f"{name} counts group {unknown[0]} as settled, and it was never handed out"
    windows = [settings.most_in_flight for settings in account.settings.values() if settings is not None]
    if windows and len(pending) > max(windows):
        yield f"{name} has {len(pending)} groups pending, more than the window holds"
