"""Metrics: a line for each step that stands, no gap, none twice; layers, experts and responses alike."""

from collections import Counter
from collections.abc import Iterator, Sequence

from cluster.record.audit.account import Account
from cluster.record.audit.files import Files, Lines
from cluster.record.audit.invariant import Invariant
from configs.arithmetic import counted

LOST = "lost"  # the kind of event of a file that a full disk did not take


def check_metrics(account: Account, files: Files, standing: Sequence[int]) -> Invariant:
    """Whether the files agree with the ledger.

    `standing` are the steps that stood before the files were read, so all but the newest must be on record; `account` is from
    afterwards, so no file has other steps than it. A run that was just continued cuts its files after it has undone the steps: until then
    they may have lines of later steps.
    """
    found = Invariant(name="metrics", claim="a line for each step that stands, no gap, none twice; layers, experts, responses alike")
    allowed = set(account.standing) | _not_yet_cut(account, files)
    due = list(standing[:-1])
    if not files.metrics.there and due:
        found.check(False, f"there is no metrics.jsonl, and {len(due)} steps stand")
        return found
    _check_lines(found, files.metrics, due, allowed | {0})
    recorded = {step for step in files.metrics.steps if step > 0}
    if files.layers.there and (layers := files.layers.steps):
        _check_lines(found, files.layers, [step for step in due if step >= min(layers)], allowed)
    found.violations += [files.experts_fault] if files.experts_fault else []
    if files.experts is not None:
        _check_experts(found, files.experts.tolist(), due, allowed, account)
    _check_responses(found, account, files, [step for step in due if step in recorded], allowed)
    found.found = {"steps": len(recorded), "files of responses": len(files.responses)}
    return found


def _not_yet_cut(account: Account, files: Files) -> set[int]:
    """Later steps, which the newest attempt has yet to cut. After a power cut the ledger may know nothing of the last of them."""
    _, learned = account.begun
    if account.last is None or learned:
        return set()
    experts = [] if files.experts is None else files.experts.tolist()
    return {step for step in (*files.metrics.steps, *files.layers.steps, *experts, *files.responses) if step > account.last.from_step}


def _check_lines(found: Invariant, lines: Lines, due: Sequence[int], allowed: set[int]) -> None:
    """Every due step once, no step that does not stand, rising order, no broken line but a last one."""
    times = Counter(lines.steps)
    for step in due:
        found.check(step in times, f"{lines.name} has no line of step {step}")
    found.check_all(len(times), _wrong_lines(lines, times, allowed))


def _wrong_lines(lines: Lines, times: Counter[int], allowed: set[int]) -> Iterator[str]:
    yield from lines.broken
    for step, count in times.items():
        if count > 1:
            yield f"{lines.name} has {count} lines of step {step}"
        if step not in allowed:
            yield f"{lines.name} has a line of step {step}, which does not stand"
    if list(times) != sorted(times):
        yield f"{lines.name} has its steps in another order than they were learned"


def _check_experts(found: Invariant, steps: Sequence[int], due: Sequence[int], allowed: set[int], account: Account) -> None:
    """`experts.npz` keeps some of the steps and always the newest, unless a resume has just cut the newest away."""
    found.check(list(steps) == sorted(set(steps)), "experts.npz has its steps twice or in another order")
    found.check_all(len(steps), (f"experts.npz has step {step}, which does not stand" for step in steps if step not in allowed))
    begins = account.last.from_step if account.last else 0
    attempt = {row.step: row.attempt for row in account.steps if not row.undone}
    due = [step for step in due if (attempt[step], LOST, f"experts.npz, step {step}") not in account.events]
    if due and due[-1] > begins:
        found.check(bool(steps) and steps[-1] >= due[-1], f"experts.npz ends before step {due[-1]}")


def _check_responses(found: Invariant, account: Account, files: Files, due: Sequence[int], allowed: set[int]) -> None:
    """A file of responses for each step, where the run keeps some, with groups that this step learned."""
    attempt = {row.step: row.attempt for row in account.steps if not row.undone}
    lost: list[str] = []
    for step in due:
        settings = account.settings.get(attempt.get(step, 0))
        if settings is not None and settings.sample_responses and files.responses:
            name = f"responses/step_{step:06d}.jsonl"
            if step not in files.responses and (attempt[step], LOST, name) in account.events:
                lost.append(name)
            else:
                found.check(step in files.responses, f"{name} is missing")
    if lost:
        found.unchecked.append(f"{counted(len(lost), 'file')} of responses from {lost[0]} on: the disk was full, as the ledger says")
    kept = [settings.sample_responses for settings in account.settings.values() if settings is not None]
    if due and any(kept) and not files.responses:
        found.unchecked.append("responses: none are kept, though run.sample_responses asks for some")
    for step, lines in files.responses.items():
        found.check(step in allowed, f"{lines.name} is of a step that does not stand")
        found.violations += lines.broken
