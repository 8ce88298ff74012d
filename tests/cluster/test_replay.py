"""`gatewise replay` as a user meets it: what it prints, what it exits with, and what it says of bad input."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.commands.replay.cli import verdict
from cluster.commands.replay.found import Check
from cluster.record.capsules.read import FORMAT, NoCapsule, read_capsule
from tests.cluster.test_capsules import Capsules, capsules, model  # noqa: F401 - fixtures
from tests.toys.process_group import alone


@pytest.fixture(scope="module", autouse=True)
def process_group() -> Iterator[None]:
    with alone():
        yield


@pytest.fixture
def folder(capsules: Capsules, tmp_path: Path) -> Path:  # noqa: F811
    copy = tmp_path / "run" / "capsules" / "step_000001"
    shutil.copytree(capsules["grpo"].folder, copy)
    return copy


def test_rewards_are_scored_again_with_everything_else(
    folder: Path,
    model: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["replay", str(folder), "--model", str(model)])
    said = capsys.readouterr().out
    assert f"{folder}: step 1" in said
    assert "kept because: due" in said
    assert "files      all as the run wrote them" in said
    assert "rewards    8 rewards equal" in said
    assert "advantages those of 8 rows equal" in said
    assert "gradient   norm" in said

    groups = json.loads((folder / "groups.json").read_text())
    groups[1]["responses"][2]["response"] = "a word that is no answer"
    groups[1]["responses"][0]["verdict"]["reward"] = 0.5
    (folder / "groups.json").write_text(json.dumps(groups))
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(folder)])
    found = capsys.readouterr()
    assert ended.value.code == 1
    assert "groups.json was changed since the run wrote it" in found.out
    assert "  group 12, response 0: reward in the plan: recorded 0.5, computed 1" in found.out
    assert found.err.splitlines()[-1].startswith(
        "gatewise: ReplayDiffers: groups.json was changed since the run wrote it; not as recorded: rewards"
    )


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("no folder", "is no folder; give a folder such as RUN/capsules/step_000012"),
        ("its first file", "it is no folder; give a folder such as RUN/capsules/step_000012; capsules are in"),
        ("a billion ranks", "rank_2.safetensors is missing"),
        ("the run's folder", "it has no capsule.json; give a folder such as RUN/capsules/step_000012; capsules are in"),
        ("cut short", "rank_0.safetensors is cut short: it has 100 of"),
        ("a file is missing", "groups.json is missing"),
        ("half of the head", "is cut short or no capsule's"),
        ("an older version", f"was written by Gatewise 0.9.0 in format 0, and this version reads format {FORMAT}"),
        ("no list of files", "cannot be read as a capsule"),
        ("a file of another folder", "../../elsewhere is missing"),
        ("other arrays", "rank_0.safetensors was changed since the run wrote it"),
    ],
)
def test_what_cannot_be_read_is_named(damage: str, said: str, folder: Path) -> None:
    head = json.loads((folder / "capsule.json").read_text())
    rank = folder / "rank_0.safetensors"
    where = {"its first file": folder / "capsule.json", "no folder": folder / "absent", "the run's folder": folder.parent.parent}.get(
        damage, folder
    )
    if damage == "cut short":
        rank.write_bytes(rank.read_bytes()[:100])
    elif damage == "a file is missing":
        (folder / "groups.json").unlink()
    elif damage == "half of the head":
        (folder / "capsule.json").write_text((folder / "capsule.json").read_text()[:200])
    elif damage == "other arrays":
        rank.write_bytes(b"\0" * rank.stat().st_size)
    elif damage in ("an older version", "no list of files", "a file of another folder", "a billion ranks"):
        changed = {
            "an older version": {"format": 0, "gatewise": "0.9.0"},
            "no list of files": {"norms": 3},
            "a billion ranks": {"ranks": 10**9},
            "a file of another folder": {"files": {"../../elsewhere": {"bytes": 1, "hash": "x"}}},
        }[damage]
        (folder / "capsule.json").write_text(json.dumps(head | changed))
    with pytest.raises(NoCapsule) as refused:
        read_capsule(where)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("differ", "changed", "said"),
    [
        (
            ["log-probs", "gradient"],
            [],
            "not as recorded: log-probs, gradient; all other numbers are: give --model the weights before the step",
        ),
        (["log-probs"], [], "give --model the weights before the step"),
        (["rewards"], [], "not as recorded: rewards; the files are as the run wrote them: the code or a checker was changed"),
        (["loss", "log-probs"], [], "not as recorded: loss, log-probs; the files are as the run wrote them"),
        (["loss"], ["rank_0.safetensors"], "rank_0.safetensors was changed since the run wrote it; not as recorded: loss"),
        ([], ["rank_0.safetensors"], "; no number that was computed again differs by more than rounding"),
    ],
)
def test_the_last_line_says_what_to_do(differ: list[str], changed: list[str], said: str) -> None:
    assert said in verdict(
        [Check(name, different=["a line"] if name in differ else []) for name in dict.fromkeys(("rewards", *differ))], changed
    )


def test_a_folder_that_holds_no_model_is_named(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(folder), "--model", str(tmp_path)])
    assert ended.value.code == 1
    assert f"--model got {tmp_path}, which has no config.json" in capsys.readouterr().err
