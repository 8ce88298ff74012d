"""The rows of a dataset, wherever it lies and whatever its form, checked while reading."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

from configs.home import expanded
from rollout.data.fields import EVERYTHING, describe_missing, find, names_in
from rollout.data.forms import read_file
from rollout.data.hub import read_hub
from rollout.data.places import files_of, looks_local
from rollout.data.row import DatasetError, RawRow, Row
from rollout.data.saved import is_saved, read_saved


def read_rows(source: str, split: str, needed: Iterable[str], optional: Iterable[str] = ()) -> list[Row]:
    """Every row of a file, a folder, a pattern of files or a Hugging Face dataset "owner/name" or "owner/name:subset".

    Each row has a value in each `needed` field. It has these and the `optional` fields only, since a large file must not be in memory as a
    whole; with EVERYTHING among the optional ones it has all. `split` chooses one of a dataset of the hub or of a saved one.
    """
    needed = list(dict.fromkeys(needed))
    wanted = list(dict.fromkeys([*needed, *optional]))
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}  # names of fields, one copy for all rows that have the same
    rows = [pick(row, needed, wanted, shared) for row in raw_rows(source, split, needed, wanted)]
    if not rows:
        raise DatasetError(f"{source} has no rows: needs at least one")
    return rows


def raw_rows(source: str, split: str, needed: Sequence[str], wanted: Sequence[str]) -> Iterator[RawRow]:
    """Every row as it is stored; of columnar datasets only the columns of the wanted fields."""
    if not source.strip():
        raise DatasetError("the path of a dataset is empty: give a file, a folder, a pattern or a Hugging Face dataset id")
    if not looks_local(source):
        return read_hub(source, split, needed, wanted)
    path = expanded(source)
    if path.is_dir() and is_saved(path):
        return read_saved(path, split, needed, wanted)
    return chain.from_iterable(read_file(file, needed, wanted) for file in files_of(source))


def pick(row: RawRow, needed: Sequence[str], wanted: Sequence[str], shared: dict[tuple[str, ...], tuple[str, ...]]) -> Row:
    """The wanted fields of a row; a DatasetError if a needed one has no value."""
    found = {name: find(row.values, name) for name in wanted}
    for name in needed:
        if found[name] is None:
            raise DatasetError(describe_missing(row.where, name, list(names_in(row.values))))
    if EVERYTHING in wanted:
        found = {**row.values, **found}
    names = tuple(row.values)
    return Row(row.where, {name: value for name, value in found.items() if value is not None}, shared.setdefault(names, names))
