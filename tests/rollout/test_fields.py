"""Dots lead into nested fields, in every form alike, and a wrong name is answered with what the row has."""

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


@pytest.fixture(params=["jsonl", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / f"rows.{request.param}"
    if request.param == "jsonl":
        path.write_text(json.dumps(ROW) + "\n")
    else:
        parquet.write_table(pa.Table.from_pylist([ROW]), path)
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
        ("reward_model", {"ground_truth": "2", "style": "rule"}),
    ],
)
def test_a_name_with_dots_finds_its_value(source: str, name: str, value: Any) -> None:
    (row,) = read_rows(source, "train", [name])
    assert row.values == {name: value}


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
