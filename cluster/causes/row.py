"""One known cause: a row of the tables in `of_machines.py` and `of_models.py`."""

import re
from dataclasses import dataclass

ENGINE, LEARNER = "engine", "learner"  # the beginning of a role's name


@dataclass(frozen=True, slots=True)
class Known:
    """One known cause."""

    name: str
    pattern: re.Pattern[str]
    advice: str
    roles: str = ""
    follows: bool = False  # it mostly follows from another member's failure, so any other error is the better cause


def row(name: str, pattern: str, advice: str, roles: str = "", *, follows: bool = False) -> Known:
    return Known(name, re.compile(pattern, re.DOTALL), advice, roles, follows)
