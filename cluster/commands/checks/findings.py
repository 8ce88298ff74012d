"""What the checks of a config found: problems, which refuse it, and warnings and notes, which do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from configs.errors import ConfigError, InputError


@dataclass(slots=True)
class Findings:
    """Collected over all checks, so that one look at a config reports all that is wrong with it."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kinds: set[type[InputError]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)  # what would be refused elsewhere, or could not be checked

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Within: a ValueError is a problem of the config, and the next check goes on."""
        try:
            yield
        except ValueError as error:
            self.problems.append(str(error))
            self.kinds.add(type(error) if isinstance(error, InputError) else InputError)

    def refuse(self) -> None:
        """Raise an InputError with every problem, if there is one; of their own kind if they are all of one."""
        if self.problems:
            alike = len(self.kinds) == 1 and ConfigError not in self.kinds
            raise (next(iter(self.kinds)) if alike else InputError)("\n".join(self.problems))

    @property
    def warned(self) -> list[str]:
        """Warnings as the terminal shows them."""
        return [f"warning: {warning}" for warning in self.warnings]
