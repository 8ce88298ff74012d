"""Dots lead into nested fields, in every form alike, and a wrong name is answered with what the row has."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from rollout.data.fields import column_of, find
from rollout.data.read import read_rows
from rollout.data.row import DatasetError

ROW = {
    "extra_info": {"question": "1+1=", "index": 3},
    "reward_model": {"ground_truth": "2", "style": "rule"},
    "messages": [{"role": "user", "content": "1+1="}, {"role": "assistant", "content": "two"}],
    "a.b": "its own name",
    "a": {"b": "nested"},
    "deep": {"x.y": {"z": 5}},
}
CELLS = {name: value if isinstance(value, str) else json.dumps(value) for name, value in ROW.items()}


@pytest.fixture(params=["jsonl", "parquet", "csv"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / f"rows.{request.param}"
    if request.param == "jsonl":
        path.write_text(json.dumps(ROW) + "\n")
    elif request.param == "parquet":
        parquet.write_table(pa.Table.from_pylist([ROW]), path)
    else:
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([CELLS.keys(), CELLS.values()])
    return str(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("extra_info.question", "1+1="),
        ("reward_model.ground_truth", "2"),
        ("messages.0.content", "1+1="),
        ("messages.-1.content", "two"),
        ("messages.-1", {"role": "assistant", "content": "two"}),
        ("a.b", "its own name"),
        ("deep.x.y.z", 5),
    ],
)
def test_a_name_with_dots_finds_its_value(source: str, name: str, value: Any) -> None:
    (row,) = read_rows(source, "train", [name])
    assert row.values == {name: value}


def test_an_object_in_a_cell_of_text_stays_text_where_it_is_asked_for_as_a_whole(source: str) -> None:
    (row,) = read_rows(source, "train", ["reward_model"])
    value = row.values["reward_model"]
    assert (json.loads(value) if isinstance(value, str) else value) == ROW["reward_model"]
    assert isinstance(value, str) == source.endswith("csv")


def test_names_lead_into_json_in_a_column_of_text(tmp_path: Path) -> None:
    parquet.write_table(pa.Table.from_pylist([CELLS]), tmp_path / "rows.parquet")
    (row,) = read_rows(str(tmp_path / "rows.parquet"), "train", ["extra_info.question", "messages.-1.content"])
    assert row.values == {"extra_info.question": "1+1=", "messages.-1.content": "two"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ground_truth", '"reward_model.ground_truth"'),
        ("reward_model.ground_trut", '"reward_model.ground_truth"'),
        ("messages.7.content", '"messages.0.content"'),
        ("Question", '"extra_info.question"'),
    ],
)
def test_a_wrong_name_is_answered_with_the_nested_one_that_was_meant(source: str, name: str, meant: str) -> None:
    with pytest.raises(DatasetError) as caught:
        read_rows(source, "train", [name])
    assert f'has no value for field "{name}"; it has "' in str(caught.value)
    assert f"did you mean {meant}" in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", "messages.x", "messages.-3", "extra_info.question.0", "messages.0.0"])
def test_a_name_that_leads_nowhere_has_no_value(name: str) -> None:
    assert find({key: value for key, value in ROW.items() if key != "a.b"}, name) is None


def test_of_a_parquet_file_only_the_columns_of_the_fields_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist([ROW]), path)
    (row,) = read_rows(str(path), "train", ["extra_info.question"], ["reward_model.style", "none"])
    assert row.names == ("extra_info", "reward_model")


def test_a_message_lists_at_most_twenty_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({f"f{n}": n for n in range(50)}))
    with pytest.raises(DatasetError, match=r'"f19" and 30 more'):
        read_rows(str(path), "train", ["prompt"])


def test_a_column_of_that_very_name_comes_before_one_that_its_start_names() -> None:
    assert column_of("a.b.c", ["a", "a.b"]) == "a"
    assert column_of("a.b", ["a", "a.b"]) == "a.b"
    assert column_of("a.b", ["b"]) is None
