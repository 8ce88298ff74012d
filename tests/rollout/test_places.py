"""A dataset may be a file, a folder, a pattern, a saved dataset or a dataset of the hub, and is never taken for another of these."""

import os
from pathlib import Path
from typing import Any

import pytest

from rollout.data.read import read_rows
from rollout.data.row import DatasetError

FILES = {
    "b.csv": "prompt,answer\nfrom csv,1\n",
    "a.jsonl": '{"prompt": "from jsonl", "answer": 2}\n',
    "c.json": '[{"prompt": "from json", "answer": 3}]',
    ".hidden.jsonl": "no data",
    "README.md": "no data",
    "dataset_infos.json": "{}",
}


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def prompts(source: Path | str, split: str = "train") -> list[Any]:
    return [row.values["prompt"] for row in read_rows(str(source), split, ["prompt", "answer"])]


def refusal(source: Path | str, split: str = "train") -> str:
    with pytest.raises(DatasetError) as caught:
        prompts(source, split)
    return str(caught.value)


def test_a_folder_is_all_its_data_files_in_order_of_their_names(tmp_path: Path) -> None:
    write(tmp_path, FILES)
    assert prompts(tmp_path) == prompts(f"{tmp_path}/") == ["from jsonl", "from csv", "from json"]


def test_a_pattern_is_every_file_it_names_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {**FILES, "deep/er/d.jsonl": FILES["a.jsonl"]})
    assert prompts(tmp_path / "[ab].*") == ["from jsonl", "from csv"]
    assert prompts(tmp_path / "**/*.jsonl") == ["from jsonl"] * 2
    monkeypatch.chdir(tmp_path)
    assert prompts("*.csv") == ["from csv"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    write(tmp_path, {"[1].jsonl": FILES["a.jsonl"]})
    assert prompts(tmp_path / "[1].jsonl") == ["from jsonl"]


def test_places_without_data_are_refused_with_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    write(tmp_path, {"deep/er/d.jsonl": FILES["a.jsonl"], "odd/x.md": "", "odd/a.jsonl": FILES["a.jsonl"]})
    assert "is a folder without data files; needed some (.jsonl" in refusal(tmp_path / "none")
    assert f"give a pattern such as {tmp_path}/deep/er/*.jsonl" in refusal(tmp_path / "deep")
    assert "names no file (looked from" in refusal(tmp_path / "none" / "*.jsonl")
    assert "x.md, whose form is not known" in refusal(tmp_path / "odd" / "*")
    assert "path of a dataset is empty" in refusal("")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "neither a file nor a folder" in refusal(tmp_path / "pipe.jsonl")


def test_a_folder_with_train_and_test_files_is_not_learned_as_a_whole(tmp_path: Path) -> None:
    write(tmp_path, {"train-00000-of-00001.jsonl": FILES["a.jsonl"], "test-00000-of-00001.csv": FILES["b.csv"]})
    message = refusal(tmp_path)
    assert "test-00000-of-00001.csv (test) and train-00000-of-00001.jsonl (train)" in message
    assert prompts(message.rpartition(" ")[2]) == ["from jsonl"]
