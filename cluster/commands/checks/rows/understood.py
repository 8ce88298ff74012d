"""How many rows have a reference that their checker does not understand whole and compares as text."""

from collections import Counter

from configs.arithmetic import counted
from reward.checkers import CHECKERS
from rollout.prompts.prompts import PromptSet

SAMPLE = 2_000  # rows that are read: of more, every second, third, … one


def describe_not_understood(rows: PromptSet) -> list[str]:
    """A line for each checker with such rows, with the first of them and the reason."""
    step = max(1, -(-len(rows.prompts) // SAMPLE))
    looked_at = rows.prompts[::step]
    found: Counter[str] = Counter()
    first: dict[str, str] = {}
    for prompt in looked_at:
        checker = CHECKERS.get(prompt.checker)
        if checker and (reason := checker.not_understood(prompt.reference)):
            found[prompt.checker] += 1
            first.setdefault(prompt.checker, f"{rows.where[prompt.prompt_id]}: {reason}: {prompt.reference!r:.120}")
    of = counted(len(looked_at), "row") + (f" looked at, 1 in {step} of {len(rows.prompts)}" if step > 1 else "")
    return [
        f"{name}: {count} of {of} have a reference that is not understood whole, so only the same text is right; the first is {first[name]}"
        for name, count in sorted(found.items())
    ]
