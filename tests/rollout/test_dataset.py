"""Rows are read the same from every kind of source, and a bad source says what is wrong and where."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from rollout.data import hub as hub_module
from rollout.data.json_lines import parse_object
from rollout.data.read import read_rows
from rollout.data.row import DatasetError

ROWS = [{"prompt": "1+1=", "answer": "2", "id": "a"}, {"prompt": "2+3=", "answer": "5", "id": "b"}]
NEEDED = ["prompt", "answer"]


def write(folder: Path, text: str | bytes, name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return str(path)


def read(source: str) -> list[dict[str, Any]]:
    return [row.values for row in read_rows(source, "train", NEEDED, ["id"])]


def refusal(source: str) -> str:
    with pytest.raises(DatasetError) as caught:
        read(source)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None, str]]:
    """A hub that holds ROWS under "toy/sums", split "train"; returns what it was asked for."""
    import datasets  # takes seconds, which every worker would spend while it collects tests

    asked: list[tuple[str, str | None, str]] = []

    def load(name: str, subset: str | None = None, *, split: str) -> datasets.Dataset:
        asked.append((name, subset, split))
        if name != "toy/sums":
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{name}' doesn't exist on the Hub")
        if split != "train":
            raise ValueError(f'Unknown split "{split}"')
        return datasets.Dataset.from_list([{**row, "extra": 0} for row in ROWS])

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr("rollout.data.hub.ask_hub", lambda: "")
    return asked


def test_jsonl_parquet_and_hub_give_the_same_rows(tmp_path: Path, hub: list[Any]) -> None:
    parquet.write_table(pa.Table.from_pylist([{**row, "extra": 0} for row in ROWS]), tmp_path / "rows.parquet")
    assert read(write(tmp_path, jsonl(ROWS))) == ROWS
    assert read(str(tmp_path / "rows.parquet")) == ROWS
    assert read("toy/sums") == ROWS
    assert hub == [("toy/sums", None, "train")]


def test_a_subset_of_a_hub_dataset_follows_a_colon(hub: list[Any]) -> None:
    assert read("toy/sums:main") == ROWS
    assert hub == [("toy/sums", "main", "train")]


def test_blank_lines_a_byte_order_mark_and_a_last_line_without_end_are_read(tmp_path: Path) -> None:
    assert read(write(tmp_path, b"\xef\xbb\xbf" + jsonl(ROWS).replace("\n", "\n\n").strip().encode())) == ROWS


@pytest.mark.parametrize(
    "missing",
    ["nowhere/rows.jsonl", "./toy/sums", "/no/such.parquet", "rows.xlsx", "data/*", "data/deep/sums", "~/no/such.jsonl"],
)
def test_a_path_that_does_not_exist_is_never_looked_for_on_the_hub(missing: str, hub: list[Any]) -> None:
    assert ("names no file" if "*" in missing else "does not exist") in refusal(missing)
    assert hub == []


def test_what_is_neither_file_nor_dataset_is_refused_with_both_named(hub: list[Any]) -> None:
    message = refusal("toy/typo")
    assert "toy/typo is neither a file" in message
    assert "doesn't exist on the Hub" in message
    assert hub == [("toy/typo", None, "train")]


def test_a_split_that_the_dataset_lacks_is_refused_with_the_key_to_change(hub: list[Any]) -> None:
    with pytest.raises(DatasetError, match=r'Unknown split "dev".*data\.split'):
        read_rows("toy/sums", "dev", NEEDED)


def test_a_column_that_the_dataset_lacks_is_refused_with_those_it_has(hub: list[Any]) -> None:
    with pytest.raises(DatasetError, match='"question"; it has "prompt", "answer", "id", "extra"'):
        read_rows("toy/sums", "train", ["question"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{'prompt': 1}", "is not JSON"),
        ('{"prompt": "1+1="', "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ('["1+1=", "2"]', "is a JSON list, not an object"),
        ("7", "is a JSON int, not an object"),
        ('{"prompt": "1+1=", "question": 2}', 'has no value for field "answer"; it has "prompt", "question"'),
        ('{"prompt": "1+1=", "answer": null}', 'has no value for field "answer"; it has "prompt"'),
        ("{}", 'has no value for field "prompt"; it has none'),
    ],
)
def test_a_bad_line_is_refused_with_its_file_and_line(tmp_path: Path, line: str | bytes, reason: str) -> None:
    bad = line.encode() if isinstance(line, str) else line
    source = write(tmp_path, jsonl(ROWS).encode() + b"\n" + bad + b"\n" + jsonl(ROWS).encode())
    message = refusal(source)
    assert f"{source} line 4 " in message
    assert reason in message


@given(line=st.one_of(st.text(max_size=40), st.text('{}[]":,\\ud8 01', max_size=20)))
def test_any_line_is_an_object_or_a_dataset_error(line: bytes) -> None:
    with contextlib.suppress(DatasetError):
        assert isinstance(parse_object(line, "here"), dict)


def test_a_parquet_file_without_the_field_or_a_value_is_refused_with_its_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist([{"prompt": "1+1=", "label": "2"}]), path)
    assert 'rows.parquet has no value for field "answer"; it has "prompt", "label"' in refusal(str(path))
    parquet.write_table(pa.Table.from_pylist([*ROWS, {"prompt": "1+1=", "answer": None}]), path)
    assert 'rows.parquet row 3 has no value for field "answer"' in refusal(str(path))


def prompts(source: Path | str, split: str = "train") -> list[Any]:
    return [row.values["prompt"] for row in read_rows(str(source), split, NEEDED)]


def refused(source: Path | str, split: str = "train") -> str:
    with pytest.raises(DatasetError) as caught:
        prompts(source, split)
    return str(caught.value)


def folder_of(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    folder.mkdir()
    for split, rows in splits.items():
        (folder / f"{split}.jsonl").write_text(jsonl(rows))
    return folder


def test_a_saved_dataset_is_read_with_its_split(tmp_path: Path) -> None:
    import datasets

    table = datasets.Dataset.from_list([{"prompt": str(n), "answer": n, "extra": 0} for n in range(3)])
    table.select([2, 0]).save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=table, test=table.select([1])).save_to_disk(tmp_path / "both")
    assert prompts(tmp_path / "one") == ["2", "0"]
    assert prompts(tmp_path / "both") == ["0", "1", "2"]
    assert prompts(tmp_path / "both", "test") == ["1"]
    assert 'has no split "dev"; it has "train", "test"' in refused(tmp_path / "both", "dev")
    (tmp_path / "one" / "data-00000-of-00001.arrow").unlink()
    assert "cannot be loaded" in refused(tmp_path / "one")


def test_a_folder_of_the_librarys_cache_is_read_with_its_split(tmp_path: Path) -> None:
    import datasets

    source = folder_of(tmp_path / "source", train=ROWS[:1], test=ROWS[1:])
    datasets.load_dataset(str(source), cache_dir=str(tmp_path / "cache"))
    (info,) = (tmp_path / "cache").rglob("dataset_info.json")
    assert prompts(info.parent) == ["1+1="]
    assert prompts(info.parent, "test") == ["2+3="]
    assert 'has no split "dev"; its files are "source-test.arrow"' in refused(info.parent, "dev")


@contextlib.contextmanager
def silent_hub() -> Iterator[str]:
    """A hub that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("cached", [False, True])
def test_without_an_answer_from_the_hub_only_the_cache_is_asked(cached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    from huggingface_hub import constants

    if cached:
        folder = tmp_path / "cache" / "toy___sums" / "default" / "0.0.0" / "abc"
        source = folder_of(tmp_path / "sums", train=ROWS)
        datasets.load_dataset(str(source), cache_dir=str(tmp_path / "made"))
        (info,) = (tmp_path / "made").rglob("dataset_info.json")
        folder.parent.mkdir(parents=True)
        info.parent.rename(folder)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(hub_module, "ANSWER_S", 0.3)
    with silent_hub() as address:
        monkeypatch.setattr(constants, "ENDPOINT", address)
        started = time.monotonic()
        if cached:
            assert prompts("toy/sums") == ["1+1=", "2+3="]
        else:
            message = refused("toy/sums")
            assert "the hub cannot be reached (" in message
            assert message.startswith("toy/sums is neither a file in ")
            assert 'with a split "train" in the local cache' in message
        assert time.monotonic() - started < 5
    assert not constants.HF_HUB_OFFLINE
