"""Says what a key of another framework is here, wherever it stands: in a section, in tables of its own, or as a flag with dashes."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches

from configs.foreign import FOREIGN
from configs.rules.common import Problem
from configs.suggest import first_sentence, flatten_type, known_keys, suggest_key
from configs.toml_writer import shown

# Tables without a counterpart, though names in them may have one: `critic.optim.lr` is no `learner.lr`.
OUTSIDE = ("critic", "reward_model", "ref", "ref_model", "reference_model", "custom_reward_function")


def translate(path: str) -> str | None:
    """What to use in place of an unknown dotted key; None for a name that no other framework is known to have.

    A longer path comes first: `rollout.n` is known, while `n` alone says nothing. A table around the key comes last.
    """
    parts = path.replace("-", "_").lstrip("+~_").split(".")
    around = parts[-2::-1]
    ends = [".".join(parts[start:]) for start in range(len(parts))]
    wrong_place = parts[-1] in all_leaves()  # a known name in an unknown place: its own section is the better advice
    for name in (*(part for part in around if part in OUTSIDE), *ends, *(() if wrong_place else around)):
        if name in FOREIGN:
            return explained(FOREIGN[name])
        if name in dotted_keys():
            return explained(name)
    return None


def translate_misspelt(leaf: str) -> str | None:
    """The same for a name that is nearly one of another framework, such as `learning_rat`."""
    near = get_close_matches(leaf, [name for name in FOREIGN if "." not in name], 1, 0.85)
    return explained(FOREIGN[near[0]]) if near else None


def describe_foreign(where: Sequence[str], value: object) -> dict[str, Problem]:
    """A problem for each key at and below an unknown one, by key; empty where no name says anything."""
    given = dict(leaves(".".join(where), value))
    advice = {path: translate(path) for path in given}
    if not any(advice.values()) and len(where) == 1 and get_close_matches(where[0], known_keys(), 1):
        return {}  # a misspelt section
    advice = {path: text or at_home(path, value) for path, text in advice.items()}
    if not any(advice.values()):
        return {}
    lost = "no counterpart is known: remove it, or look for one in docs/config.md"
    return {path: Problem((path,), f"unknown key (got {shown(path, given[path])}); {advice[path] or lost}") for path in given}


def at_home(path: str, value: object) -> str | None:
    """Where a known name in a table of another framework belongs."""
    leaf = path.rpartition(".")[2]
    if not isinstance(value, dict) or leaf not in all_leaves():
        return None
    return f"did you mean {suggest_key('.'.join(path.split('.')[-2:]))}?"


def describe_flags(extra: Sequence[str]) -> list[str]:
    """A line for each flag that no command has, such as `--learning_rate 1e-6`: settings are written without dashes."""
    lines = []
    for place, word in enumerate(extra):
        if not word.startswith("-"):
            continue
        flag, _, value = word.partition("=")
        following = extra[place + 1] if place + 1 < len(extra) and not extra[place + 1].startswith("-") else ""
        name, given = flag.lstrip("-"), value or following or "VALUE"
        if name in dotted_keys():
            advice = f"write {name}={given}"
        else:
            meant = suggest_key(name)
            advice = translate(name) or (f"did you mean {meant}={given}?" if meant else "there is no such key: see docs/config.md")
        lines.append(f"{flag}: settings are written as key=value, without dashes; {advice}")
    return lines


def leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    """Every key with a value in a table of tables, as a dotted path."""
    if not isinstance(value, dict) or not value:
        yield path, value
        return
    for name, inner in value.items():
        yield from leaves(f"{path}.{name}", inner)


def explained(text: str) -> str:
    """A row's text as advice; a key of ours comes with what it is."""
    key, _, note = text.partition(": ")
    if key not in dotted_keys():
        return text
    section, _, leaf = key.partition(".")
    return f"here it is {key}: {note or first_sentence(flatten_type(known_keys()[section][leaf])['description'])}"


def dotted_keys() -> set[str]:
    """Every key of ours as section.key."""
    return {f"{section}.{leaf}" for section, keys in known_keys().items() for leaf in keys}


def all_leaves() -> set[str]:
    """The names of our keys without their sections."""
    return {leaf for keys in known_keys().values() for leaf in keys}
