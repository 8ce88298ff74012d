"""A reward function of the user's before a run starts: what `validate`, `rewards check` and `rewards audit` say of it."""

import json
from pathlib import Path

import numpy as np
import pytest

from cluster.cli import main
from cluster.commands.checks.rewards import check_rewards
from configs.loader import dump
from configs.schema import Config
from reward.own.name import OwnCodeError
from rollout.prompts.prompts import PromptSet
from rollout.seeds import seed_of_response
from rollout.types import Prompt

pytestmark = pytest.mark.timeout(60)

FUNCTIONS = """
def right(response, reference):
    return float(response == str(reference))

def misspelt(response, reference):
    return respnse == reference

def nothing(response, reference):
    response == reference

def picky(response, reference):
    raise ValueError(f"cannot read {response}")

def one_way(response, reference):
    return 1.0 if response == str(reference) else abs(wnat)

def part(response, reference):
    return reference["weight"]

def hard(response, row):
    return float(row["level"] == "hard")

def rank(response, group, index, seed):
    assert group[index] == response
    return sorted(group).index(response) + seed % 10 / 10

def bringing(response, reference):
    return float(response == f"<{reference}>")

def below_43(reference):
    if reference >= 43:
        raise ValueError(f"got {reference}, needed less than 43")

bringing.gold = lambda reference: f"<{reference}>"
bringing.check_reference = below_43
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    return tmp_path


def config(**reward: object) -> Config:
    return Config.model_validate({"model": {"path": "m"}, "data": {"train": "t.jsonl"}, "reward": reward})


def said_of(checker: str, columns: dict[str, object] | None = None, **reward: object) -> list[str]:
    """What a check says of a run whose two rows have the references 42 and 43."""
    prompts = [
        Prompt(
            prompt_id=str(number), token_ids=np.array([1], np.int32), checker=checker, reference=42 + number, columns=dict(columns or {})
        )
        for number in range(2)
    ]
    rows = PromptSet(prompts=prompts, dropped=0, where={str(number): f"t.jsonl line {number + 1}" for number in range(2)})
    return list(check_rewards(config(checker=checker, **reward), rows, PromptSet(prompts=[], dropped=0)).lines)


def test_a_function_is_tried_on_the_first_rows_before_anything_starts(here: Path) -> None:
    extra = {"checker": "mine.py:part", "reference": {"weight": 0.5}}
    assert said_of("mine.py:right", {"level": 1}, parts={"extra": extra})[1:] == [
        "mine.py:right: 1 with the reference of t.jsonl line 1 as the response ('42')",
        "mine.py:part: 0.5 with the reference of t.jsonl line 1 as the response ('{\"weight\": 0.5}')",
        "data.keep_fields keeps level, but no function asks for row: remove it, or add the parameter row",
    ]
    with pytest.raises(ValueError, match=r"mine\.py:picky' fails .* cannot read 42 .*; it should score 0 for a response"):
        said_of("mine.py:picky")
    with pytest.raises(ValueError, match=r"mine\.py:one_way' has a mistake on one of its ways.* NameError: name 'wnat' is not defined"):
        said_of("mine.py:one_way")


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("misspelt", "NameError: name 'respnse' is not defined ({here}/mine.py:6 in misspelt)"),
        ("nothing", "TypeError: checker returned None, needed a number: some way through it ends without `return`"),
    ],
)
def test_a_mistake_of_the_program_on_every_row_is_refused_with_its_line(here: Path, function: str, said: str) -> None:
    with pytest.raises(ValueError, match=rf"^checker 'mine\.py:{function}' fails with the reference of t\.jsonl line 1") as refused:
        said_of(f"mine.py:{function}")
    assert said.format(here=here) in str(refused.value)


def test_a_function_that_cannot_be_imported_is_one_line_for_every_command(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OwnCodeError, match=r"mine\.py has no 'rigth'; .* did you mean mine\.py:right\?"):
        said_of("mine.py:rigth")
    whole = config(checker="mine.py:rigth")
    (here / "config.toml").write_text(dump(whole))
    (here / "responses").mkdir()
    row = {"checker": "mine.py:rigth", "reference": 42, "outcome": "scored", "reward": 1.0, "response": "42", "tokens": 1}
    (here / "responses" / "step_000001.jsonl").write_text(json.dumps(row))
    (here / "rows.jsonl").write_text('{"answer": 42}\n')
    for words in (["audit", "."], ["check", "rows.jsonl", "--checker", "mine.py:rigth"]):
        with pytest.raises(SystemExit) as ended:
            main(["rewards", *words])
        assert ended.value.code == 1
        (last,) = capsys.readouterr().err.splitlines()
        assert last.startswith("gatewise: OwnCodeError: checker 'mine.py:rigth': mine.py has no 'rigth'")


def test_rewards_check_takes_an_own_function_with_any_json_reference(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"answer": reference, "solution": str(reference)} for reference in (42, 4.5, "42", {"answers": [42]}, [42])]
    (here / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    own = ("--checker", "mine.py:right", "--workers", "1")
    main(["rewards", "check", "rows.jsonl", *own])
    assert "3 passed (60.00 %), 0 failed, 2 have no gold answer" in capsys.readouterr().out
    main(["rewards", "check", "rows.jsonl", *own, "--solution-field", "solution"])
    assert "5 passed (100.00 %)" in capsys.readouterr().out


def test_what_a_function_asks_of_the_rows_is_checked_before_anything_starts() -> None:
    assert said_of("mine.py:hard", {"level": "hard"}, parts={"rank": {"checker": "mine.py:rank"}})[1:] == [
        "mine.py:hard: 1 with the reference of t.jsonl line 1 as the response ('42')",
        "mine.py:rank: 2 with the reference of t.jsonl line 1 as the response ('42')",
    ]
    with pytest.raises(ValueError, match=r"'mine\.py:hard' asks for row, but data\.keep_fields keeps no column of t\.jsonl line 1"):
        said_of("mine.py:hard")
    with pytest.raises(ValueError, match=r"KeyError: 'level' .*; row has grade: for another column, name it in data\.keep_fields"):
        said_of("mine.py:hard", {"grade": 1})
    with pytest.raises(ValueError, match=r"^t\.jsonl line 2: checker 'mine\.py:bringing': ValueError: got 43, needed less than 43 "):
        said_of("mine.py:bringing")


def test_rewards_check_uses_what_a_function_brings_and_gives_it_every_column(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "rows.jsonl").write_text("".join(json.dumps({"answer": n, "level": "hard"}) + "\n" for n in (41, 42, 44)))
    main(["rewards", "check", "rows.jsonl", "--checker", "mine.py:hard", "--workers", "1"])
    assert "3 passed (100.00 %)" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["rewards", "check", "rows.jsonl", "--checker", "mine.py:bringing", "--workers", "1"])
    out = capsys.readouterr().out
    assert "2 passed (66.67 %), 1 failed" in out
    assert "got 44, needed less than 43" in out


def test_an_audit_gives_a_function_the_whole_group_the_columns_and_the_seed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = config(checker="mine.py:rank", workers=1, parts={"hard": {"checker": "mine.py:hard"}})
    whole = whole.model_copy(update={"rollout": whole.rollout.model_copy(update={"group_size": 2})})
    (here / "config.toml").write_text(dump(whole))
    (here / "responses").mkdir()
    rows = []
    for group, member, response in ((7, 1, "b"), (7, 0, "a"), (8, 0, "a")):  # of group 8 one response was not kept
        reward = member + seed_of_response(whole.run.seed, group, member) % 10 / 10 + 1.0
        row = {"group": group, "member": member, "checker": "mine.py:rank", "reference": 1, "outcome": "scored", "reward": reward}
        rows.append({**row, "response": response, "tokens": 1, "columns": {"level": "hard"}})
    (here / "responses" / "step_000001.jsonl").write_text("\n".join(map(json.dumps, rows)))
    main(["rewards", "audit", "."])
    out = capsys.readouterr().out
    assert "2 rewards the same, 0 different" in out
    assert "1 response not scored: a function asks for the whole group, of which the run kept a part" in out
