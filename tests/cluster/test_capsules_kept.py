"""Which steps a run keeps as capsules, how many of them, and that neither a full disk nor a lost node ends the run for one."""

import asyncio
import errno
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.actors.engines import EnginePool
from cluster.actors.fleet.race import references
from cluster.loop import capsules as loop
from cluster.loop.capsules import Capsules
from cluster.record.capsules.keep import to_drop
from cluster.record.capsules.read import list_capsules, read_capsule
from cluster.record.capsules.write import write_rank
from configs.object_store import words_come_apart
from rollout.types import Prompt, Verdict
from rollout.window.scored import Scored, Text
from tests.toys.run import run_config, toy_summary

EMPTY = {
    **{f"row.{name}": np.zeros(0, np.int32) for name in ("group", "member", "segment", "update", "micro_batch", "first_turn", "turns")},
    **{f"row.{name}": np.zeros(0, np.int32) for name in ("prompt_tokens", "tokens", "by_turn", "oldest_version", "newest_version")},
    **{name: np.zeros(0, np.float32) for name in ("logprobs", "old_logprobs", "ratios", "advantages", "token_weights", "losses")},
    **{name: np.zeros(0, np.int32) for name in ("prompt_ids", "token_ids", "losses.update", "row.own_context")},
    **{name: np.zeros(0) for name in ("by_turn", "row.advantage", "row.weight")},
    "spans": np.zeros((0, 2), np.int32),
    "sampled": np.zeros(0, np.bool_),
    "mask": np.zeros(0, np.bool_),
}


class Toy:
    """A driver's capsules over ranks and engines that do what a test says."""

    def __init__(self, folder: Path, size: int = 0, **run: Any) -> None:
        self.said: list[str] = []
        self.error: str | None = None
        self.texts: Sequence[Text] | None = [Text(place, "4", Verdict(reward=float(place))) for place in range(4)]
        self.config = run_config(folder, run={"dir": str(folder), **run})
        folder.mkdir(exist_ok=True)
        self.room = size
        self.capsules = Capsules(self.config, self, self, SimpleNamespace(size=lambda: self.room), self.said.append)  # type: ignore[arg-type]
        self.capsules.begin(0, ())

    async def capsule(self, folder: Path, room: int) -> list[dict[str, Any]]:
        trace = SimpleNamespace(arrays=lambda: EMPTY, norms=[0.5], entropy_coefficient=0.0)
        return [{"error": self.error} if self.error else write_rank(folder, 0, 1, trace, room)]

    async def words(self, groups: Sequence[Scored]) -> list[Sequence[Text] | None]:
        return [self.texts for _ in groups]

    def step(self, step: int, alarm: str | None = None, warnings: Sequence[str] = (), **values: float) -> None:
        prompt = Prompt(prompt_id="p", token_ids=np.array([1, 2, 3], np.int32), reference="4", checker="exact")
        scored = Scored(summary=toy_summary(7, [0.0, 1.0, 2.0, 3.0]), texts=(), tokens=None, engine=0, prompt=prompt)
        asyncio.run(self.capsules.after_step(step, [scored], {"loss": 0.0, **values}, alarm, warnings))

    @property
    def kept(self) -> dict[str, str]:
        return {folder.name: read_capsule(folder).reason for folder in list_capsules(self.config.run_dir)}


def test_a_run_keeps_what_is_due_and_every_step_with_a_cause(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run", capsule_every=4)
    toy.step(1)
    toy.step(2, updates_skipped=1.0)
    toy.step(3, updates_skipped=1.0)
    toy.step(4, updates_skipped=1.0)
    toy.step(5, updates_skipped=1.0, updates_spiked=1.0)
    toy.step(6, alarm="mismatch/kl is too large", updates_skipped=1.0)
    toy.step(7, warnings=["mismatch_jumps", "engines_wait"], updates_skipped=1.0)
    toy.step(8, warnings=["mismatch_jumps", "engines_wait"], updates_skipped=1.0)
    assert toy.kept == {
        "step_000002": "an update was dropped",
        "step_000004": "due",
        "step_000005": "an update spiked",
        "step_000006": "mismatch alarm",
        "step_000007": "warning mismatch_jumps",
        "step_000008": "due",
    }
    assert [line.partition(";")[0] for line in toy.said] == [
        "step 2: an update was dropped",
        "step 5: an update spiked",
        "step 6: mismatch alarm",
        "step 7: warning mismatch_jumps",
    ]
    assert toy.said[0].endswith(f"gatewise replay {tmp_path / 'run/capsules/step_000002'}")


def test_a_cause_that_goes_on_is_kept_once(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run")
    for step in range(1, 5):
        toy.step(step, updates_skipped=float(step))
    toy.step(5, updates_skipped=4.0)
    toy.step(6, updates_skipped=5.0)
    for step in range(7, 10):
        toy.step(step, updates_skipped=5.0, updates_spiked=float(step - 6))
    assert list(toy.kept) == ["step_000001", "step_000006", "step_000007"]


def test_a_resumed_run_does_not_take_what_was_counted_before_for_new(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run")
    rows = [{"step": 1, "updates_skipped": 0.0}, {"step": 2, "updates_skipped": 3.0}, {"step": 3, "updates_skipped": 4.0}]
    (tmp_path / "run" / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    left = tmp_path / "run" / "capsules" / ".step_000003"
    left.mkdir(parents=True)
    toy.capsules.begin(2, ["mismatch_jumps"])
    assert not left.exists(), "what a killed run left of a capsule"
    toy.step(3, updates_skipped=3.0, warnings=["mismatch_jumps"])
    assert toy.kept == {}
    toy.step(4, updates_skipped=4.0)
    assert list(toy.kept) == ["step_000004"]


def test_a_step_that_is_learned_again_keeps_both_capsules(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run", capsule_every=2)
    for _ in range(3):
        toy.step(2)
    assert list(toy.kept) == ["step_000002", "step_000002.1", "step_000002.2"]


def test_a_run_that_keeps_none_writes_none(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run", keep_capsules=0)
    toy.step(1, alarm="too large", updates_skipped=1.0)
    assert (toy.kept, toy.said) == ({}, [])


@pytest.mark.parametrize(
    ("found", "keep", "dropped"),
    [
        ("dd", 2, ""),
        ("ddd", 2, "0"),
        ("dcd", 2, "0"),
        ("cdd", 2, "1"),
        ("ccc", 2, "1"),
        ("cccc", 3, "1"),
        ("cc", 1, "0"),
        ("cdcd", 1, "130"),
        ("dddd", 1, "012"),
        ("", 3, ""),
    ],
)
def test_those_that_were_only_due_go_first_and_the_first_cause_stays(found: str, keep: int, dropped: str) -> None:
    capsules = [(Path(str(place)), kind == "c") for place, kind in enumerate(found)]
    assert "".join(str(path) for path in to_drop(capsules, keep)) == dropped


def test_a_run_keeps_a_bounded_number(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run", capsule_every=1, keep_capsules=3)
    for step in range(1, 9):
        toy.step(step, updates_spiked=float(step == 2))
    assert list(toy.kept) == ["step_000002", "step_000007", "step_000008"]


def test_a_disk_without_room_is_said_once_and_leaves_nothing(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run", size=1 << 60, capsule_every=1)
    toy.step(1)
    toy.step(2)
    assert len(toy.said) == 1
    assert "warning: no capsule of step 1 was kept: the disk has" in toy.said[0]
    assert list((tmp_path / "run" / "capsules").iterdir()) == []
    toy.room = 0
    toy.step(3)
    assert (list(toy.kept), len(toy.said)) == (["step_000003"], 1)


@pytest.mark.parametrize("where", ["a rank", "the driver", "the folder"])
def test_a_full_disk_ends_no_run(where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Toy(tmp_path / "run", capsule_every=1)

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "a rank":
        toy.error = "rank 1: No space left on device"
    else:
        monkeypatch.setattr(loop, {"the driver": "finish", "the folder": "begin"}[where], full)
    toy.step(1)
    toy.step(2)
    assert len(toy.said) == 1
    assert "warning: no capsule of step 1 was kept: " in toy.said[0]
    assert toy.said[0].endswith("No space left on device")
    assert toy.kept == {}


def test_a_group_whose_words_were_lost_with_a_node_is_kept_without_them(tmp_path: Path) -> None:
    toy = Toy(tmp_path / "run", capsule_every=1)
    toy.texts = None
    toy.step(1)
    (group,) = read_capsule(list_capsules(tmp_path / "run")[0]).groups
    assert group.members is None
    assert (group.rewards, group.prompt["reference"]) == ([0.0, 1.0, 2.0, 3.0], "4")


def test_the_words_of_a_group_are_its_last_object() -> None:
    assert references(["a", "b", "x", "y", "words"], 2, words=True).words == "words"
    made = references(["a", "b"], 2)
    assert (made.tokens, made.experts, made.words) == (["a", "b"], [], None)


def test_few_words_come_with_the_summary_and_need_no_object(tmp_path: Path) -> None:
    short, long = (run_config(tmp_path, rollout={"group_size": 4, "max_response_tokens": tokens}) for tokens in (1024, 1025))
    off = run_config(tmp_path, run={"keep_capsules": 0}, rollout={"group_size": 4, "max_response_tokens": 1025})
    assert [words_come_apart(config) for config in (short, long, off)] == [False, True, False]
    pool = EnginePool.__new__(EnginePool)
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="exact")
    texts = [Text(member, "4", Verdict(reward=1.0)) for member in range(2)]
    scored = Scored(summary=toy_summary(7, [1.0, 1.0]), texts=texts, tokens=None, engine=0, prompt=prompt)
    assert asyncio.run(pool.words([scored, replace(scored, texts=texts[:1])])) == [texts, None]


def test_words_that_were_not_kept_are_none(tmp_path: Path) -> None:
    pool = EnginePool.__new__(EnginePool)
    prompt = Prompt(prompt_id="p", token_ids=np.array([1], np.int32), reference="4", checker="exact")
    scored = Scored(summary=toy_summary(7, [0.0]), texts=(), tokens=None, engine=0, prompt=prompt)
    assert asyncio.run(pool.words([scored])) == [None]
