"""What the checks of a config found: problems, which refuse it, and warnings and notes, which do not."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from configs.errors import ConfigError, InputError, in_one_line


@dataclass(slots=True)
class Findings:
    """Collected over all checks, so that one look at a config reports all that is wrong with it."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kinds: set[type[InputError]] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)  # what would be refused elsewhere, could not be checked, or follows from the model

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Within: an error of what was given is a problem of the config, and the next check goes on.

        Libraries and the system raise other types than ValueError for files and numbers that they cannot use.
        """
        try:
            yield
        except ValueError as error:
            self.problems.append("\n".join(in_one_line(line) for line in str(error).split("\n")))
            self.kinds.add(type(error) if isinstance(error, InputError) else InputError)
        except (OSError, RuntimeError, LookupError, ArithmeticError) as error:
            self.problems.append(in_one_line(f"{type(error).__name__}: {error}"))
            self.kinds.add(InputError)

    def refuse(self) -> None:
        """Raise an InputError with every problem, if there is one; of their own kind if they are all of one."""
        if self.problems:
            alike = len(self.kinds) == 1 and ConfigError not in self.kinds
            raise (next(iter(self.kinds)) if alike else InputError)("\n".join(self.problems))

    @property
    def warned(self) -> list[str]:
        """Warnings as the terminal shows them."""
        return [f"warning: {warning}" for warning in self.warnings]
