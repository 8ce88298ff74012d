"""The command `gatewise play` on a real tokenizer and real reward workers."""

import io
import sys
from pathlib import Path

import pytest

from cluster.cli import main, read_words
from tests.cluster.test_cli import config as config
from tests.cluster.test_cli import model as model

GAME = """
def guess(said, secret):
    for left in range(2, -1, -1):
        if said == secret:
            return 1.0
        if left:
            said = yield "0" if said > secret else "9"
    return 0.0
"""


def play(config: str, row: str, typed: str, *options: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
    folder = Path(config).parent
    own = f"reward.checker={folder}/game.py:guess"
    main(["play", config, row, own, "reward.workers=1", "rollout.max_reply_tokens=5", *options])


def test_a_person_plays_a_row_with_the_rewards_of_a_run(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(config).parent / "game.py").write_text(GAME)
    play(config, "4", "7\n5\n", monkeypatch=monkeypatch)
    rule = "─" * 60
    assert capsys.readouterr().out.splitlines()[1:] == [
        "prompt   4 tokens, as the model reads them:", rule, "4+1=", rule,
        'you      are the model: a line is a turn, """ begins and ends one of several lines, Ctrl-D leaves',
        "turn 1> 7", "answer   0", "turn 2> 5", "end      2 turns, 4 tokens: the episode is over", "reward   1 (correct 1)",
        "right    '5' is the row's reference",
    ]  # fmt: skip
    play(config, "4", "7\n", monkeypatch=monkeypatch)
    assert capsys.readouterr().out.endswith("left     after 1 answered turn, before the end: no reward\n")
    assert not (Path(config).parent / "run").exists(), "it writes nothing"


@pytest.mark.parametrize(
    ("row", "options", "wrong"),
    [
        ("6", (), 'DataError: the set "train" has no row "6": give a number from 0 to 5'),
        ("0", ("--set", "eval"), 'DataError: there is no set "eval": the config has train'),
        ("0", ("--greedy",), "--greedy is for an engine: add --engine"),
        ("0", ("rollout.max_turns=0",), "rollout.max_turns"),
        ("0", ("reward.checker=nothing",), "RewardError: unknown checker 'nothing'"),
    ],
)
def test_what_cannot_be_played_is_one_line(
    config: str, row: str, options: tuple[str, ...], wrong: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path(config).parent / "game.py").write_text(GAME)
    with pytest.raises(SystemExit) as ended:
        play(config, row, "", *options, monkeypatch=monkeypatch)
    assert ended.value.code == 1
    assert wrong in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        "play c.toml 3 --engine model.path=m run.seed=1",
        "play c.toml 3 model.path=m --set eval run.seed=1",
        "play c.toml 3 model.path=m run.seed=1 --to-end",
        "evaluate c.toml --checkpoint d model.path=m run.seed=1",
        "validate c.toml --gpu-memory 80 model.path=m run.seed=1",
        "export c.toml --to d model.path=m run.seed=1",
    ],
)
def test_settings_may_stand_behind_options(words: str) -> None:
    assert read_words(words.split()).overrides == ["model.path=m", "run.seed=1"]
