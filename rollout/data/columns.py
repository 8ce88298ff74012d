"""Files of columns: Parquet, and Arrow as `datasets` writes it. Only the columns that are asked for are read."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rollout.data.fields import EVERYTHING, column_of, describe_missing
from rollout.data.row import DatasetError, RawRow


def read_parquet(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """The columns of the named fields, one batch of rows in memory at a time; rows are numbered from 1."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            columns = pick_columns(str(path), file.schema_arrow, needed, optional)
            yield from number_rows(path, file.iter_batches(columns=columns))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is not a readable Parquet file ({error}): write it again, or give a .jsonl file") from error


def read_arrow(path: Path, needed: Sequence[str], optional: Sequence[str]) -> Iterator[RawRow]:
    """The same of an Arrow file, whether it is a stream or has random access."""
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            try:
                table = pa.ipc.open_stream(file).read_all()
            except pa.ArrowInvalid:
                file.seek(0)
                table = pa.ipc.open_file(file).read_all()
            yield from number_rows(path, table.select(pick_columns(str(path), table.schema, needed, optional)).to_batches(1024))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{path} is not a readable Arrow file ({error}): write it again, or give a .parquet file") from error


def number_rows(path: Path, batches: Iterable[Any]) -> Iterator[RawRow]:
    number = 0
    for batch in batches:
        for values in batch.to_pylist():
            number += 1
            yield RawRow(f"{path} row {number}", values)


def pick_columns(source: str, schema: Any, needed: Sequence[str], optional: Sequence[str]) -> list[str]:
    """The columns of an Arrow schema that hold the named fields; a DatasetError if a needed field has none."""
    for name in needed:
        if column_of(name, schema.names) is None:
            raise DatasetError(describe_missing(source, name, list(names_of(schema))))
    if EVERYTHING in optional:
        return list(schema.names)
    found = {column_of(name, schema.names) for name in (*needed, *optional)}
    return [name for name in schema.names if name in found]


def names_of(schema: Any) -> Iterator[str]:
    """The dotted names of an Arrow schema's fields; of a list of structs those of its first entry."""
    import pyarrow as pa

    def inside(name: str, kind: Any) -> Iterator[str]:
        if pa.types.is_struct(kind):
            for field in kind:
                yield from inside(f"{name}.{field.name}", field.type)
            return
        yield name
        if (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_struct(kind.value_type):
            yield from inside(f"{name}.0", kind.value_type)

    for field in schema:
        yield from inside(field.name, field.type)
