"""The forms of files, by the ends of their names."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from rollout.data.columns import read_arrow, read_parquet
from rollout.data.delimited import read_csv, read_tsv
from rollout.data.json_array import read_json
from rollout.data.json_lines import read_json_lines
from rollout.data.row import DatasetError, RawRow
from rollout.data.text import COMPRESSED

TEXT: dict[str, Callable[[Path], Iterator[RawRow]]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_csv,
    ".tsv": read_tsv,
}
COLUMNS: dict[str, Callable[[Path, Sequence[str], Sequence[str]], Iterator[RawRow]]] = {
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
KNOWN = f"{', '.join((*TEXT, *COLUMNS))}; text also {' or '.join(COMPRESSED)}"
# Files that lie beside data and describe it.
ABOUT_DATA = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def is_data(path: Path) -> bool:
    """Whether a file found in a folder is one of its data files."""
    return form_of(path) is not None and not path.name.startswith(".") and path.name not in ABOUT_DATA


def form_of(path: Path) -> str | None:
    """The end of the name that says how to read the file; None if it says nothing known."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    if suffixes and suffixes[-1] in COMPRESSED:
        return suffixes[0] if suffixes[0] in TEXT else None
    return suffixes[-1] if suffixes and suffixes[-1] in {**TEXT, **COLUMNS} else None


def read_file(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """Every row of a file; columns that no field needs are not read."""
    form = form_of(path)
    if form in TEXT:
        return TEXT[form](path)
    if form in COLUMNS:
        return COLUMNS[form](path, needed, optional)
    raise DatasetError(f"{path} has a form that is not known by its name: give one of {KNOWN}")
