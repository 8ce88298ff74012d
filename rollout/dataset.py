"""Rows of a dataset, from a JSONL or Parquet file or a Hugging Face dataset id, checked while reading."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.errors import DataError

SUFFIXES = (".jsonl", ".parquet")
LOCAL_SUFFIXES = (*SUFFIXES, ".json", ".csv", ".txt", ".arrow", ".gz")


class DatasetError(DataError):
    """A dataset that cannot be read, or a row that cannot be used."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row and its place in the dataset, for messages."""

    where: str  # "prompts.jsonl line 3"
    values: dict[str, Any]


def read_rows(source: str, split: str, needed: Iterable[str], optional: Iterable[str] = ()) -> list[Row]:
    """Every row of a local file, or of one split of a Hugging Face dataset "owner/name" or "owner/name:subset".

    Each row has a value in each `needed` field. Of columnar datasets only these and the `optional` fields are read.
    """
    needed = list(dict.fromkeys(needed))
    if looks_local(source):
        path = local_file(source)
        rows = read_jsonl(path) if path.suffix == ".jsonl" else read_parquet(path, needed, optional)
    else:
        rows = read_hub(source, split, needed, optional)
    checked = [with_fields(row, needed) for row in rows]
    if not checked:
        raise DatasetError(f"{source} has no rows: needs at least one")
    return checked


def looks_local(source: str) -> bool:
    """Whether a source can only mean a path: a Hugging Face id is "name" or "owner/name" and names no file."""
    return source.startswith((".", "/", "~")) or source.endswith(LOCAL_SUFFIXES) or source.count("/") > 1 or Path(source).exists()


def local_file(source: str) -> Path:
    path = Path(source).expanduser()
    needed = "give the path of a .jsonl or .parquet file, or a Hugging Face dataset id"
    if not path.exists():
        raise DatasetError(f"{source} does not exist (looked for {path.absolute()}): {needed}")
    if not path.is_file() or path.suffix not in SUFFIXES:
        raise DatasetError(f"{source} is {'a folder' if path.is_dir() else 'of another kind of file'}: {needed}")
    return path


def read_jsonl(path: Path) -> Iterator[Row]:
    """One JSON object a line; blank lines are skipped."""
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path} line {number}"
                yield Row(where, parse_object(line, where))


def parse_object(line: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        reason = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise DatasetError(f"{where} is not JSON ({reason}): each line must be one JSON object") from error
    if not isinstance(values, dict):
        raise DatasetError(f"{where} is a JSON {type(values).__name__}, not an object: write it as {{...}} with named fields")
    return values


def read_parquet(path: Path, needed: list[str], optional: Iterable[str]) -> Iterator[Row]:
    """The named columns, one batch of rows in memory at a time; rows are numbered from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = pick_columns(str(path), file.schema_arrow.names, needed, optional)
            number = 0
            for batch in file.iter_batches(columns=columns):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path} row {number}", values)
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is not a readable Parquet file ({error}): write it again, or give a .jsonl file") from error


def read_hub(source: str, split: str, needed: list[str], optional: Iterable[str]) -> Iterator[Row]:
    """The named columns of one split, downloaded or from the local cache; rows are numbered from 1."""
    import datasets  # takes seconds to import

    name, _, subset = source.partition(":")
    try:
        table = datasets.load_dataset(name, subset or None, split=split)
    except Exception as error:  # the library raises a dozen unrelated types; quote its own message
        raise DatasetError(
            f'{source} is neither a file in {Path.cwd()} nor a Hugging Face dataset with a split "{split}" that can be loaded '
            f'({type(error).__name__}: {error}): check the id, its subset ("owner/name:subset") and data.split, or give a .jsonl file'
        ) from error
    columns = pick_columns(source, table.column_names, needed, optional)
    for number, values in enumerate(table.select_columns(columns), start=1):
        yield Row(f'{source} split "{split}" row {number}', values)


def pick_columns(source: str, present: list[str], needed: list[str], optional: Iterable[str]) -> list[str]:
    """The named columns that exist; DatasetError if a needed one does not."""
    for name in needed:
        if name not in present:
            raise DatasetError(lacks(source, name, present))
    return [name for name in present if name in {*needed, *optional}]


def with_fields(row: Row, needed: list[str]) -> Row:
    """The row itself; DatasetError if a needed field has no value."""
    for name in needed:
        if row.values.get(name) is None:
            present = [key for key, value in row.values.items() if value is not None]
            raise DatasetError(lacks(row.where, name, present))
    return row


def lacks(where: str, name: str, present: list[str]) -> str:
    has = ", ".join(f'"{key}"' for key in present) or "none"
    return f'{where} has no value for field "{name}"; it has {has}: name the right one in data.prompt_field or data.reference_field'
