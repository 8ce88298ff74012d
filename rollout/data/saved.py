"""Datasets that the `datasets` library wrote to disk: by `save_to_disk`, or into its cache."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rollout.data.columns import pick_columns, read_arrow
from rollout.data.row import DatasetError, RawRow

SAVED = ("state.json", "dataset_dict.json")
IN_CACHE = "dataset_info.json"


def is_saved(path: Path) -> bool:
    """Whether a folder was written by the library."""
    return any((path / name).is_file() for name in SAVED) or ((path / IN_CACHE).is_file() and any(path.glob("*.arrow")))


def read_saved(path: Path, split: str, needed: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """The rows of a saved dataset; of several splits those of `split`. Rows are numbered from 1."""
    if not any((path / name).is_file() for name in SAVED):
        yield from read_cache(path, split, needed, optional)
        return
    import datasets  # takes seconds to import

    try:
        table = datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises many unrelated types; quote its own message
        raise DatasetError(
            f"{path} is a saved dataset that cannot be loaded ({type(error).__name__}: {error}): save it again with save_to_disk"
        ) from error
    if isinstance(table, datasets.DatasetDict):
        if split not in table:
            raise DatasetError(f'{path} has no split "{split}"; it has {named(table)}: set data.split or data.eval_split')
        table = table[split]
    columns = pick_columns(str(path), table.features.arrow_schema, needed, optional)
    for number, values in enumerate(table.select_columns(columns), start=1):
        yield RawRow(f"{path} row {number}", values)


def read_cache(path: Path, split: str, needed: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """The Arrow files of one split in a folder of the library's cache: NAME-SPLIT.arrow, or NAME-SPLIT-00000-of-00002.arrow."""
    files = sorted(path.glob(f"*-{split}.arrow")) + sorted(path.glob(f"*-{split}-*-of-*.arrow"))
    if not files:
        present = named(sorted(file.name for file in path.glob("*.arrow")))
        raise DatasetError(f'{path} has no split "{split}"; its files are {present}: set data.split or data.eval_split')
    for file in files:
        yield from read_arrow(file, needed, optional)


def named(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
