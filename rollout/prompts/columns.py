"""The columns of a row that a reward function of the user's may ask for: those of `data.keep_fields`, as JSON values."""

import json
from collections.abc import Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from configs.digits import read_long_json, write_long_json
from rollout.data.fields import EVERYTHING, closest
from rollout.data.row import DatasetError, Row

SHOWN = 20


def fields_to_keep(keep: Sequence[str] | bool) -> list[str]:
    """The names to ask a reader of rows for."""
    return [EVERYTHING] if keep is True else list(keep or ())


def refuse_absent(source: str, keep: Sequence[str] | bool, rows: Sequence[Row]) -> None:
    """Raise DatasetError where a named column has no value in any row: the name is probably wrong."""
    for name in [] if isinstance(keep, bool) else keep:
        if not any(name in row.values for row in rows):
            there = list(dict.fromkeys(key for row in rows[:SHOWN] for key in row.names))
            near = "" if name in there else closest(name, there)
            raise DatasetError(
                f'data.keep_fields names "{name}", but no row of {source} has a value there; the first has '
                f"{', '.join(map(json.dumps, there[:SHOWN]))}{f'; did you mean {near}?' if near else ''}: correct the name, or remove it"
            )


def columns_of(keep: Sequence[str] | bool, row: Row) -> dict[str, Any]:
    """The kept columns of a row; a column that is named, or that the row has, without a value is None."""
    names = row.names if keep is True else keep or ()
    return {name: as_json(row, name, row.values.get(name)) for name in names}


def as_json(row: Row, name: str, value: Any) -> Any:
    """The value as JSON has it, dates as ISO text and decimals as numbers; DatasetError where it has no such form."""
    try:
        text = write_long_json(value, default=plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise DatasetError(
            f'{row.where}: column "{name}" of data.keep_fields is no JSON value ({error}): list only the columns that your function '
            "needs, or store it as text"
        ) from None
    return value if isinstance(value, str | int | float | bool | None) else read_long_json(text)


def plain(value: object) -> object:
    """A value of a columnar file that JSON lacks."""
    match value:
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return float(value)
        case UUID():
            return str(value)
    raise TypeError(f"it holds a {type(value).__name__}")
