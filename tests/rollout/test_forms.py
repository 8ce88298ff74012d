"""Files of every form give the same rows, and a file that is not what its name says is refused with its line and a remedy."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from rollout.data.json_array import read_json
from rollout.data.read import read_rows
from rollout.data.row import DatasetError, Row

ROWS = [{"prompt": "1+1=", "answer": "2"}, {"prompt": 'say "a, b"\nand stop', "answer": "7"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
CSV = b'prompt,answer\n1+1=,2\n"say ""a, b""\nand stop",7\n'


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def arrow(opener: Callable[..., pa.RecordBatchStreamWriter]) -> bytes:
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist(ROWS)
    with opener(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def parquet_bytes() -> bytes:
    sink = pa.BufferOutputStream()
    parquet.write_table(pa.Table.from_pylist(ROWS), sink)
    return sink.getvalue().to_pybytes()


# A table is made when its test runs: it makes Arrow import pandas, which takes seconds.
Content = bytes | Callable[[], bytes]
SAME: dict[str, Content] = {
    "rows.jsonl": LINES,
    "rows.ndjson": LINES,
    "ROWS.JSONL": LINES,
    "bom.jsonl": b"\xef\xbb\xbf" + LINES,
    "crlf.jsonl": LINES.replace(b"\n", b"\r\n"),
    "end.jsonl": LINES.rstrip(),
    "rows.json": json.dumps(ROWS).encode(),
    "indented.json": json.dumps(ROWS, indent=2).encode(),
    "under.json": json.dumps({"version": 1, "data": ROWS}).encode(),
    "lines.json": LINES,
    "rows.csv": CSV,
    "bom.csv": b"\xef\xbb\xbf" + CSV,
    "crlf.csv": b'prompt,answer\r\n1+1=,2\r\n"say ""a, b""\nand stop",7\r\n',
    "blank.csv": CSV.replace(b"answer\n", b"answer\n\n"),
    "index.csv": b',prompt,answer\n0,1+1=,2\n1,"say ""a, b""\nand stop",7\n',
    "rows.tsv": CSV.replace(b"prompt,answer", b"prompt\tanswer").replace(b"=,2", b"=\t2").replace(b'",7', b'"\t7'),
    "rows.parquet": parquet_bytes,
    "stream.arrow": lambda: arrow(pa.ipc.new_stream),
    "file.arrow": lambda: arrow(pa.ipc.new_file),
    "rows.jsonl.gz": gzip.compress(LINES),
    "parts.jsonl.gz": gzip.compress(LINES[:9]) + gzip.compress(LINES[9:]),
    "rows.csv.gz": gzip.compress(CSV),
    "rows.json.zst": zstd(json.dumps(ROWS).encode()),
    "rows.jsonl.zst": zstd(LINES),
}


def read(folder: Path, name: str, content: Content, *fields: str) -> list[Row]:
    path = folder / name
    path.write_bytes(content() if callable(content) else content)
    return read_rows(str(path), "train", fields or ("prompt", "answer"))


@pytest.mark.parametrize("name", SAME)
def test_every_form_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert [row.values for row in read(tmp_path, name, SAME[name])] == ROWS


def test_rows_are_named_by_line_in_text_and_by_number_elsewhere(tmp_path: Path) -> None:
    for name, second in (("rows.jsonl", "line 2"), ("rows.csv", "line 3"), ("rows.json", "row 2"), ("rows.parquet", "row 2")):
        assert read(tmp_path, name, SAME[name])[1].where == f"{tmp_path / name} {second}"


def test_cells_of_a_table_stay_text_and_an_empty_cell_is_no_value(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "rows.csv", b"prompt,answer,checker\n1, 007,\n", "prompt", "answer")
    assert row.values == {"prompt": "1", "answer": " 007"}
    with pytest.raises(DatasetError, match=r'line 3 has no value for field "answer"; it has "prompt"'):
        read(tmp_path, "gap.csv", b"prompt,answer\n1,2\n3,\n")


def test_a_cell_may_be_longer_than_the_csv_library_allows_by_itself(tmp_path: Path) -> None:
    (row,) = read(tmp_path, "rows.csv", b"prompt,answer\n" + b"x" * 200_000 + b",1\n")
    assert len(row.values["prompt"]) == 200_000


def test_of_a_row_only_what_was_asked_for_stays_in_memory(tmp_path: Path) -> None:
    lines = b"".join(json.dumps({"prompt": str(n), "answer": n, "junk": "x" * 99}).encode() + b"\n" for n in range(3))
    rows = read(tmp_path, "rows.jsonl", lines)
    assert [row.values for row in rows] == [{"prompt": str(n), "answer": n} for n in range(3)]
    assert rows[0].names == ("prompt", "answer", "junk")
    assert rows[0].names is rows[2].names


BAD = [
    ("empty.jsonl", b"", "has no rows"),
    ("blank.json", b" \n", "has no rows"),
    ("empty.json", b"[]", "has no rows"),
    ("header.csv", b"prompt,answer\n", "has no rows"),
    ("nul.jsonl", LINES + b"\0" * 9 + b"\n", "line 3 has a NUL byte"),
    ("latin.jsonl", LINES + '{"prompt": "é"}'.encode("latin-1"), "line 3 has the byte 0xe9"),
    ("latin.csv", b"prompt,answer\n1,2\n\xe9,1\n", "line 3 has the byte 0xe9"),
    ("latin.json", b'[{"prompt":\n\n"\xe9"}]', "line 3 has the byte 0xe9"),
    ("wide.jsonl", LINES.decode().encode("utf-16"), "is UTF-16 or UTF-32, needed UTF-8"),
    ("half.jsonl", LINES + b'{"prompt": "\\ud800", "answer": "1"}', "line 3 has \\ud800, half of a surrogate pair"),
    ("half.json", b'[{"prompt": "\\udc00", "answer": "1"}]', "row 1 has \\udc00"),
    ("array.jsonl", json.dumps(ROWS).encode(), "line 1 is a JSON list, not an object: one array of objects belongs in a file whose name"),
    ("array.jsonl", json.dumps(ROWS, indent=1).encode(), "line 1 is not JSON (Expecting value at column 1): one array of objects belongs"),
    ("cut.jsonl", LINES[:-4], "line 2 is not JSON"),
    ("one.json", LINES.splitlines()[0], "is one JSON object without an array"),
    ("rows.json", json.dumps({"rows": ROWS}).encode(), 'its arrays: "rows"'),
    ("cut.json", b'[{"prompt": "1", "answer": "2"},\n{"prompt":', "line 2 is not JSON"),
    ("open.json", b'[{"prompt": "1", "answer": "2"}\n', "line 2 is not JSON (the array does not end)"),
    ("comma.json", b'[{"prompt": "1", "answer": "2"}\n{}]', "line 2 is not JSON (a comma is missing)"),
    ("after.json", b'[{"prompt": "1", "answer": "2"}]\n{}', "line 2 is not JSON (something follows the array)"),
    ("late.json", LINES + b"oops", "line 3 is not JSON"),
    ("numbers.json", b"[1, 2]", "row 1 is a JSON int, not an object"),
    ("inner.json", b'{"data": [{"prompt": "1", "answer": "2"}, 3]}', 'row 2 of "data" is a JSON int'),
    ("deep.json", b"[" * 100_000, "is not JSON"),
    ("few.csv", b"prompt,answer\n1\n", "line 2 has 1 cell, but the header names 2"),
    ("many.csv", b'prompt,answer\n"a\nb",1\n1,2,3\n', "line 4 has 3 cells, but the header names 2: put cells that contain commas"),
    ("twice.csv", b"prompt,prompt,answer\n1,2,3\n", 'names the column "prompt" twice'),
    ("semicolon.csv", b"prompt;answer\n1;2\n", "the file is separated by semicolons, needed commas"),
    ("comma.tsv", b"prompt,answer\n1,2\n", "the file is separated by commas, needed tabs"),
    ("open.csv", b'prompt,answer\n"open,2\n', "line 2 cannot be read (unexpected end of data)"),
    ("quote.csv", b'prompt,answer\n"a"b,2\n', "line 2 cannot be read"),
    ("mac.csv", b"prompt,answer\r1,2\r", "line 1 cannot be read"),
    ("space.csv", b"prompt, answer\n1,2\n", 'did you mean " answer"?'),
    ("plain.jsonl.gz", LINES, "cannot be unpacked as .gz (Not a gzipped file"),
    ("cut.jsonl.gz", gzip.compress(LINES * 50)[:-20], "cannot be unpacked as .gz"),
    ("plain.jsonl.zst", LINES, "cannot be unpacked as .zst"),
    ("cut.jsonl.zst", zstd(LINES * 50)[:-5], "cannot be unpacked as .zst"),
    ("rows.parquet.gz", lambda: gzip.compress(parquet_bytes()), "has a form that is not known by its name"),
    ("rows.txt", LINES, "has a form that is not known by its name: give a file (.jsonl"),
    ("rows.parquet", LINES, "is not a readable Parquet file"),
    ("cut.parquet", lambda: parquet_bytes()[:-9], "is not a readable Parquet file"),
    ("rows.arrow", LINES, "is not a readable Arrow file"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD, ids=[f"{number}-{row[0]}" for number, row in enumerate(BAD)])
def test_a_file_that_cannot_be_used_is_refused_with_its_name_and_why(tmp_path: Path, name: str, content: Content, reason: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read(tmp_path, name, content)
    assert str(caught.value).startswith(f"{tmp_path / name} ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("indent", [None, 0, 3])
def test_an_array_is_read_as_the_json_library_reads_it(tmp_path: Path, indent: int | None) -> None:
    values = [{}, {"a": '],[{\\"', "b": [[], {"c": None}]}, {"é": "\U0001f600", "n": -1.5e300}, {"": 10**30}]
    path = tmp_path / "any.json"
    for ascii_only in (True, False):
        path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii_only))
        assert [row.values for row in read_json(path)] == values


@pytest.mark.parametrize(("name", "before", "after"), [("rows.jsonl", "", ""), ("rows.json", "[", "]"), ("data.json", '{"data": [', "]}")])
def test_integers_may_have_any_number_of_digits(tmp_path: Path, name: str, before: str, after: str) -> None:
    (tmp_path / name).write_text(f'{before}{{"q": "a", "r": [1{"0" * 5000}]}}{after}')
    (row,) = read_rows(str(tmp_path / name), "train", ["q", "r"])
    assert row.values["r"] == [10**5000]
