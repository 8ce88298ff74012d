"""Names of episodes: one, or in a word all those of an engine."""

from collections.abc import Iterable


def named_by(name: str, episodes: Iterable[str]) -> list[str]:
    """Which of these episodes a name means: the one of this name, or where it ends in "/" all whose names begin with it."""
    return [one for one in episodes if one == name or (name.endswith("/") and one.startswith(name))]
