"""The name of a function of the user's: "package.module:function" or "path/to/file.py:function"."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from configs.errors import RewardError
from configs.home import expanded

FORMS = "'package.module:function' or 'path/to/file.py:function'"


class OwnCodeError(RewardError):
    """The user's function cannot be used; the text says why and what to do."""


def is_own(name: str) -> bool:
    """Whether a checker's name means a function of the user's; no checker of ours has a colon in its name."""
    return ":" in name


@dataclass(frozen=True, slots=True)
class OwnName:
    """The two halves of such a name."""

    whole: str
    place: str  # a module, or the path of a file
    function: str

    @classmethod
    def read(cls, name: str) -> "OwnName":
        """The parts of a name; OwnCodeError where one is missing. A path may contain colons, a function may not."""
        place, _, function = name.rpartition(":")
        if not place or not function:
            raise OwnCodeError(f"checker {name!r} lacks the {'function' if place else 'module or file'}: write {FORMS}")
        if not place.endswith(".py") and ("/" in place or place.startswith("~") or place.endswith(".ipynb")):
            raise OwnCodeError(f"checker {name!r} names a path that does not end in .py: write {FORMS}")
        return cls(name, place, function)

    @property
    def path(self) -> Path | None:
        """The file that it names, resolved against the current folder; None for a module."""
        if not self.place.endswith(".py"):
            return None
        try:
            return expanded(self.place).resolve()
        except (RuntimeError, OSError) as error:  # a link to itself, or a name that is too long
            raise OwnCodeError(f"checker {self.whole!r} names a file that cannot be reached ({error}): correct its path") from None

    @property
    def module(self) -> str:
        """The name of its module: for a file one that no other module has, the same for each spelling of its path."""
        if (path := self.path) is None:
            return self.place
        return f"own_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
