"""Exactly once: a group is settled once, by a step that stands; a step stands once; an epoch has every prompt once."""

from collections import Counter
from collections.abc import Iterator

from cluster.record.audit.account import Account
from cluster.record.audit.conservation import by_group
from cluster.record.audit.invariant import Invariant


def check_once(account: Account) -> Invariant:
    """Whether nothing was learned twice, by a step that does not stand, or left out."""
    found = Invariant(name="exactly once", claim="a group is settled once, a step stands once, an epoch has every prompt once")
    for group, rows in by_group(account).items():
        settled = [row.attempt for row in rows if row.stands]
        found.check(len(settled) <= 1, f"group {group} is settled in attempts {', '.join(map(str, settled))}")
    found.check_all(len(account.steps), _wrong_steps(account))
    found.check_all(sum(row.stands for row in account.groups), _undone_too_little(account))
    _check_prompts(account, found)
    found.found["steps that stand"] = len(account.standing)
    return found


def _wrong_steps(account: Account) -> Iterator[str]:
    """Steps that stand twice, are missing, have another number of groups, or belong to no attempt that could learn them."""
    times = Counter(account.standing)
    yield from (f"step {step} stands {count} times" for step, count in times.items() if count > 1)
    newest = max(times, default=0)
    yield from (f"step {step} is missing, and step {newest} stands" for step in range(account.begins[0] + 1, newest) if step not in times)
    standing = {(row.step, row.attempt) for row in account.steps if not row.undone}
    learned = Counter((row.step, row.attempt) for row in account.groups if row.outcome == "learned")
    for (step, attempt), count in learned.items():
        if (step, attempt) not in standing:
            yield f"{count} groups are learned by step {step} of attempt {attempt}, which is undone or missing"
    begins = {attempt.attempt: attempt.from_step for attempt in account.attempts}
    for row in account.steps:
        later = [begun for begun, from_step in begins.items() if begun > row.attempt and from_step < row.step]
        name = f"step {row.step} of attempt {row.attempt}"
        if row.attempt not in begins:
            yield f"{name} belongs to no attempt"
        elif row.step <= begins[row.attempt]:
            yield f"{name} was learned before, since the attempt continues after step {begins[row.attempt]}"
        if later and not row.undone:
            yield f"{name} stands, and attempt {later[0]} continued before it"
        if row.undone and not later:
            yield f"{name} is undone, and no later attempt continued before it"
        settings = account.settings.get(row.attempt)
        count = learned[row.step, row.attempt]
        if settings is not None and not row.undone and count != settings.groups_per_step:
            yield f"{name} learned {count} groups, and a step has {settings.groups_per_step}"


def _undone_too_little(account: Account) -> Iterator[str]:
    """Groups that stand although a later attempt handed them out again."""
    again: set[int] = set()
    first: int | None = None
    wanted: dict[int, tuple[set[int], int | None]] = {}
    for attempt in reversed(account.attempts):
        wanted[attempt.attempt] = set(again), first
        again |= attempt.pending or set()
        if attempt.next_group is not None:
            first = attempt.next_group if first is None else min(first, attempt.next_group)
    for row in account.groups:
        if row.stands and row.attempt in wanted:
            pending, next_group = wanted[row.attempt]
            if row.group_id in pending or (next_group is not None and row.group_id >= next_group):
                yield f"group {row.group_id} is {row.outcome} in attempt {row.attempt}, and a later attempt hands it out again"


def _check_prompts(account: Account, found: Invariant) -> None:
    """Every prompt of an epoch once, and none missing where the epoch is over. Only the uniform sampler promises it."""
    settings = None if account.last is None else account.settings[account.last.attempt]
    if settings is None or settings.sampler != "uniform":
        if settings is not None:
            found.unchecked.append(f"epochs: data.sampler is {settings.sampler}, which repeats and leaves out prompts on purpose")
        return
    newest = {row.group_id: row for row in account.groups}  # the newest handing out of each group
    first: dict[int, tuple[str, int]] = {}
    epochs: dict[str, dict[int, Counter[str]]] = {}
    for row in account.groups:
        same = first.setdefault(row.group_id, (row.prompt_id, row.epoch))
        found.check(
            same == (row.prompt_id, row.epoch),
            f"group {row.group_id} is prompt {row.prompt_id} in attempt {row.attempt}, and was prompt {same[0]} before",
        )
    base, settled = account.begins
    starts: dict[str, int] = {}  # the epoch of the first group of each source, of which another run had a part; -1 if none had
    for row in newest.values():
        source = next((name for name in settings.sources if row.prompt_id.startswith(f"{name}/")), "")
        if row.group_id > max(settled, default=-1):
            starts.setdefault(source, row.epoch if base else -1)
        epochs.setdefault(source, {}).setdefault(row.epoch, Counter())[row.prompt_id] += 1
    for source, by_epoch in epochs.items():
        found.check_all(sum(map(len, by_epoch.values())), _wrong_epochs(source, by_epoch, starts.get(source, max(by_epoch))))


def _wrong_epochs(source: str, by_epoch: dict[int, Counter[str]], start: int) -> Iterator[str]:
    """Prompts that an epoch has twice, or that one after `start` lacks although it is over."""
    of = f" of source {source}" if source else ""
    every = set().union(*by_epoch.values())
    for epoch, prompts in sorted(by_epoch.items()):
        yield from (f"epoch {epoch}{of} has prompt {prompt} twice" for prompt, count in prompts.items() if count > 1)
    for epoch in range(start + 1, max(by_epoch)):
        yield from (f"epoch {epoch}{of} is over and lacks prompt {prompt}" for prompt in sorted(every - set(by_epoch.get(epoch, ()))))
