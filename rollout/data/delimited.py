"""Tables of text: comma-separated and tab-separated values with a header."""

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from configs.arithmetic import counted
from rollout.data.row import DatasetError, RawRow
from rollout.data.text import text_lines

LONGEST_CELL = 1 << 30  # characters; the library's own limit of 131,072 is below what prompts may have
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}


def read_delimited(path: Path, delimiter: str) -> Iterator[RawRow]:
    """A row for each record below the header. Cells are text, never numbers; an empty cell is no value.

    Cells with delimiters, quotes or line breaks stand in double quotes, quotes in them doubled. Rows are named by their first line.
    """
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader((line for _, line in text_lines(path)), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            where, line = f"{path} line {line}", reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = checked_header(where, cells, delimiter)
                continue
            if len(cells) != len(header):
                raise DatasetError(
                    f"{where} has {counted(len(cells), 'cell')}, but the header names {len(header)}: put cells that contain "
                    f"{DELIMITERS[delimiter]}, quotes or line breaks into double quotes"
                )
            yield RawRow(where, {name: cell for name, cell in zip(header, cells, strict=True) if cell})
    except csv.Error as error:
        raise DatasetError(
            f"{path} line {line} cannot be read ({error}): quote cells with double quotes, double the quotes in them, and end each line "
            "with a line feed"
        ) from error


def checked_header(where: str, names: list[str], delimiter: str) -> list[str]:
    """The names of the columns; a DatasetError if two are the same, or if the file is delimited by another character."""
    doubled = [name for place, name in enumerate(names) if name and name in names[:place]]
    if doubled:
        raise DatasetError(f'{where} names the column "{doubled[0]}" twice: give each column its own name')
    other = next((sign for sign in DELIMITERS if sign != delimiter and sign in names[0]), None)
    if len(names) == 1 and other:
        raise DatasetError(
            f"{where} is one column, {names[0]!r}: the file is separated by {DELIMITERS[other]}, needed {DELIMITERS[delimiter]} "
            "(.csv takes commas, .tsv tabs): save it so"
        )
    return names


read_csv = partial(read_delimited, delimiter=",")
read_tsv = partial(read_delimited, delimiter="\t")
