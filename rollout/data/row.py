"""A row of a dataset, and the error about one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from configs.errors import DataError


class DatasetError(DataError):
    """A dataset that cannot be read, or a row that cannot be used."""


@dataclass(frozen=True, slots=True)
class Row:
    """The fields of one row that were asked for, and its place in the dataset, for messages."""

    where: str  # "prompts.jsonl line 3"
    values: dict[str, Any]  # by the name that was asked for, dots included; a field without a value is absent
    names: Sequence[str] = ()  # the names of all fields of the row, asked for or not


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row as a file has it."""

    where: str
    values: dict[str, Any]
