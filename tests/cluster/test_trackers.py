"""Trackers: what each gets of a run's files, what a resume does, what is refused, and what is hidden."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cluster.cli import main
from cluster.record.ledger import Ledger
from cluster.record.metrics.trackers import ready
from cluster.record.metrics.trackers.files import Tail, by_layer, said
from cluster.record.metrics.trackers.following import Asked, Following, new_id
from cluster.record.metrics.trackers.hiding import hide
from cluster.record.metrics.trackers.ready import tracker_problems
from cluster.record.metrics.trackers.state import path_of, read_state
from cluster.record.metrics.trackers.to_mlflow import allowed
from cluster.record.metrics.trackers.tracker import Row, Tracked, cell, flat
from tests.toys.run import run_config

ASKED = Asked(project="p", name="n", offline=False, responses_every=3, end_s=5.0)


class Toy:
    """Remembers what it gets; `fails` raises in the next call."""

    package: ClassVar[str] = "json"
    got: ClassVar[list[Any]] = []
    fails: ClassVar[list[Exception]] = []
    has: ClassVar[int | None] = None

    def __init__(self, run: Tracked) -> None:
        self.id, self.url, self.known = run.id, "here", self.has if run.resumed else None
        self.add("begin", run.resumed)

    @staticmethod
    def destination(folder: Path, offline: bool) -> str:
        return "offline" if offline else "http://me:hunter22@there"

    def add(self, *what: Any) -> None:
        if self.fails:
            raise self.fails.pop()
        self.got.append(what)

    def rewind(self, step: int) -> None:
        self.add("rewind", step)

    def scalars(self, lines: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.add("scalars", [(step, dict(values)) for step, values in lines])

    def responses(self, step: int, rows: Sequence[Row]) -> None:
        self.add("responses", step, len(rows))

    def picture(self, name: str, path: Path, step: int) -> None:
        self.add("picture", name, step)

    def health(self, step: int, text: str) -> None:
        self.add("health", step, text)

    def close(self) -> None:
        self.add("close")


class Book:
    """Writes a run's files as a run does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "config.toml").write_text('[run]\nsteps = 9\n[model]\npath = "m"\n')
        (folder / "responses").mkdir()

    def learn(self, *steps: int) -> None:
        for step in steps:
            self.add("layers.jsonl", {"step": step, "differ": [0.5, None]})
            self.add("metrics.jsonl", {"step": step, "a/b": step / 4, "none": None})
            (self.folder / f"responses/step_{step:06d}.jsonl").write_text('{"response": "r"}\n')

    def add(self, name: str, row: dict[str, Any]) -> None:
        with (self.folder / name).open("a") as file:
            file.write(json.dumps(row) + "\n")

    def cut(self, step: int) -> None:
        for name in ("metrics.jsonl", "layers.jsonl"):
            kept = [line for line in (self.folder / name).read_text().splitlines() if json.loads(line)["step"] <= step]
            (self.folder / f"{name}.tmp").write_text("".join(f"{line}\n" for line in kept))
            (self.folder / f"{name}.tmp").replace(self.folder / name)
        for path in self.folder.glob("responses/*"):
            if int(path.stem[5:]) > step:
                path.unlink()

    def begin(self, step: int) -> None:
        ledger = Ledger(self.folder / "ledger.db")
        ledger.begin(step, 0, ())
        ledger.close()


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Book:
    monkeypatch.setattr(Toy, "got", [])
    monkeypatch.setattr(Toy, "fails", [])
    return Book(tmp_path)


def follow(book: Book, **asked: Any) -> Following:
    return Following(book.folder, "toy", Toy, ASKED.model_copy(update=asked))


def sent() -> list[int]:
    return [step for what, *content in Toy.got if what == "scalars" for step, _ in content[0]]


def test_a_tracker_gets_what_the_files_have_each_thing_once(book: Book) -> None:
    book.begin(0)
    following = follow(book)
    book.add("metrics.jsonl", {"step": 0, "eval/greedy": 0.25})
    book.learn(1)
    assert not following.round(False)
    assert Toy.got == [("begin", False), ("scalars", [(0, {"eval/greedy": 0.25}), (1, {"a/b": 0.25, "differ/layer_00": 0.5})])]
    book.learn(2, 3, 4, 5)
    book.add("health.jsonl", {"step": 2, "rule": "slow", "event": "begins", "seen": "it is slow", "advice": "wait"})
    book.add("health.jsonl", {"step": 3, "rule": "slow", "event": "ends"})
    (book.folder / "reward.png").write_bytes(b"png")
    Toy.got.clear()
    following.round(False)
    following.round(False)
    assert sent() == [2, 3, 4, 5]
    assert Toy.got[1:] == [("responses", 1, 1), ("responses", 3, 1), ("health", 2, "slow: it is slow: wait"), ("picture", "reward", 5)]
    Toy.got.clear()
    following.round(True)
    following.close()
    assert Toy.got == [("responses", 5, 1), ("close",)], "the last step's responses come when the run has ended"
    state = read_state(book.folder, "toy")
    assert (state.sent, state.complete, state.to) == (5, True, "http://there")


def test_a_failure_is_noted_and_everything_comes_later_in_the_same_run(book: Book) -> None:
    book.learn(1, 2)
    following = follow(book)
    following.round(False)
    book.learn(3)
    Toy.fails.append(ConnectionError("http://me:hunter22@there refuses\nand more"))
    with pytest.raises(ConnectionError) as raised:
        following.round(False)
    following.failed(raised.value)
    assert read_state(book.folder, "toy").trouble == "ConnectionError: http://there refuses"
    book.learn(4)
    following.round(False)
    assert read_state(book.folder, "toy").trouble == ""
    assert sent() == [1, 2, 3, 4]
    assert [what for what in Toy.got if what[0] == "begin"] == [("begin", False), ("begin", True)]
    again = follow(book)
    again.round(True)
    assert sent() == [1, 2, 3, 4], "a new process goes on where the last one was"
    assert again.state.id == following.state.id


def test_a_tracker_that_knows_less_than_it_was_sent_gets_the_rest_again(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    book.learn(1, 2, 3)
    follow(book).round(False)
    monkeypatch.setattr(Toy, "has", 1)
    follow(book).round(False)
    assert sent() == [1, 2, 3, 2, 3]


@pytest.mark.parametrize(("back", "expected"), [(2, [1, 2, 3, 4, 3, 4, 5]), (0, [1, 2, 3, 4, 1, 2, 3, 4, 5]), (4, [1, 2, 3, 4, 5])])
def test_steps_that_a_resume_undoes_are_sent_anew(book: Book, back: int, expected: list[int]) -> None:
    book.begin(0)
    book.learn(1, 2, 3, 4)
    following = follow(book)
    following.round(False)
    book.begin(back)
    undone = back < 4
    assert following.round(False) is undone, "the ledger says so first: the lines that are still there are not sent"
    book.cut(back)
    book.learn(*range(back + 1, 6))
    following.round(False)
    assert sent() == expected
    assert [what for what in Toy.got if what[0] == "rewind"] == ([("rewind", back or -1)] if undone else [])


def test_another_destination_gets_the_run_from_its_beginning(book: Book) -> None:
    book.learn(1)
    follow(book).round(True)
    first = read_state(book.folder, "toy").id
    follow(book, offline=True).round(True)
    assert sent() == [1, 1]
    assert read_state(book.folder, "toy").id != first


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sent": "x"}', "\x00"])
def test_a_state_that_cannot_be_read_is_that_of_a_new_tracker(book: Book, damage: str) -> None:
    path_of(book.folder, "toy").parent.mkdir()
    path_of(book.folder, "toy").write_text(damage)
    book.learn(1)
    follow(book).round(True)
    assert sent() == [1]


def test_a_line_is_read_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    tail = Tail(path)
    assert tail.read() == []
    path.write_text('{"step": 1}\n{"st')
    assert tail.read() == [{"step": 1}]
    with path.open("a") as file:
        file.write('ep": 2}\nno json\n[3]\n')
    assert tail.read() == [{"step": 2}]
    path.write_text('{"step": 9}\n')
    assert tail.read() == [{"step": 9}], "a file that became shorter is read anew"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"rule": "slow", "seen": "s", "advice": "a"}, "slow: s: a"),
        ({"warning": "slow", "message": "m"}, "slow: m"),
        ({"rule": "slow", "seen": "s"}, "slow: s"),
    ],
)
def test_a_health_line_of_any_version_is_one_text(row: Row, text: str) -> None:
    assert said(row) == text


def test_values_of_layers_keep_their_keys() -> None:
    assert by_layer({"step": 1, "load": [1.0, None, 3], "other": 2}) == {"load/layer_00": 1.0, "load/layer_02": 3}


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("http://me:pw123456@host/x", "http://host/x"),
        ("http://me@host", "http://host"),
        ("http://host/?write_token=abcdef&x=1", "http://host/?write_token=***&x=1"),
        ("key is 0123secret9 here", "key is *** here"),
        ("nothing to hide: a@b.c", "nothing to hide: a@b.c"),
    ],
)
def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch, text: str, hidden: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123secret9")
    assert hide(text) == hidden


@pytest.mark.parametrize(("key", "name"), [("reward/mean", "reward/mean"), ("pass@4", "pass_at_4"), ("a#b", "a_b"), ("é", "_")])
def test_a_name_for_mlflow_has_its_letters_and_stays_apart(key: str, name: str) -> None:
    found = allowed(key)
    assert found.startswith(name)
    assert (found == name) is ("/" in name or "@" in key)
    assert allowed("a%b") != allowed("a#b")


def test_an_id_has_letters_that_every_tracker_takes() -> None:
    assert new_id("my run/ü").startswith("my-run-")
    assert new_id("//") != new_id("//")


def test_texts_of_a_table_are_cut_and_can_be_written() -> None:
    assert cell("a" * 20_000).endswith(" … (20000 letters)")
    assert str(cell("\ud800")).encode() == b"\\ud800"
    assert [cell(None), cell(1.5), cell(True), cell([1])] == [None, 1.5, True, "[1]"]
    assert flat({"a": {"b": {"c": 1}, "d": {}}}) == {"a.b.c": 1, "a.d": {}}


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "TRACKIO_WRITE_TOKEN", "TRACKIO_SPACE_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr(ready, "installed", lambda package: package == "trackio")
    monkeypatch.setenv("TRACKIO_SERVER_URL", "http://host")
    config = run_config(tmp_path, trackers={"use": ["wandb", "mlflow", "trackio"]})
    package, other, key, server = tracker_problems(config)
    assert "pip install wandb" in package
    assert "pip install mlflow" in other
    assert "set WANDB_API_KEY" in key
    assert "set TRACKIO_WRITE_TOKEN" in server
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    os.chmod(tmp_path / "netrc", 0o600)
    assert not any("WANDB_API_KEY" in problem for problem in tracker_problems(config))
    assert list(tracker_problems(run_config(tmp_path, run={"tensorboard": True}))) != [], "the older key asks for a package too"
    assert list(tracker_problems(run_config(tmp_path))) == []


def test_a_folder_without_code_is_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trackerless").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not ready.installed("trackerless")
    assert ready.installed("json")


def test_track_refuses_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["track", str(tmp_path)])
    assert f"{tmp_path} holds no run with metrics" in capsys.readouterr().err
