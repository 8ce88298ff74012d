"""The columns that data.keep_fields names reach a prompt as JSON values."""

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from rollout.data.read import read_rows
from rollout.data.row import DatasetError, Row
from rollout.prompts.columns import columns_of, fields_to_keep, refuse_absent


def rows_of(folder: Path, text: str, keep: list[str] | bool) -> list[Row]:
    (folder / "t.jsonl").write_text(text)
    return read_rows(str(folder / "t.jsonl"), "train", ["prompt"], fields_to_keep(keep))


def test_named_columns_are_kept_under_their_names_and_all_with_true(tmp_path: Path) -> None:
    text = '{"prompt": "p", "level": 3, "extra": {"index": 1}, "none": null}\n{"prompt": "q"}\n'
    keep = ["level", "extra.index"]
    rows = rows_of(tmp_path, text, keep)
    assert [columns_of(keep, row) for row in rows] == [{"level": 3, "extra.index": 1}, {"level": None, "extra.index": None}]
    everything = [columns_of(True, row) for row in rows_of(tmp_path, text, True)]
    assert everything == [{"prompt": "p", "level": 3, "extra": {"index": 1}, "none": None}, {"prompt": "q"}]
    assert [columns_of([], row) for row in rows] == [columns_of(False, row) for row in rows] == [{}, {}]
    with pytest.raises(DatasetError, match=r'names "levle", but no row of t has a value there; .* did you mean "level"\?'):
        refuse_absent("t", ["levle"], rows_of(tmp_path, text, ["levle"]))


def test_values_that_json_lacks_become_plain_or_are_refused() -> None:
    values = {"day": date(2024, 1, 2), "at": [datetime(2024, 1, 2, 3)], "price": Decimal("1.5"), "picture": b"x"}
    row = Row("t.parquet row 1", values, tuple(values))
    assert columns_of(["day", "at", "price"], row) == {"day": "2024-01-02", "at": ["2024-01-02T03:00:00"], "price": 1.5}
    with pytest.raises(DatasetError, match=r'^t.parquet row 1: column "picture" of data.keep_fields is no JSON value \(it holds a bytes'):
        columns_of(True, row)
