"""`rewards audit` and `audit` run episodes again from what was said in them, and name an environment that says something else."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.cli import main
from cluster.commands.rewards.differences import Report, compare
from cluster.commands.rewards.kept import Kept
from cluster.record.audit.account import GroupRow
from cluster.record.audit.episodes import wrong_episode
from configs.loader import dump
from rollout.types import Verdict
from tests.toys.run import run_config

GAME = """
from gatewise import Words, held

def guess(said, secret, seed):
    for left in range(2, -1, -1):
        if said == secret:
            return 0.75
        if left:
            said = yield Words("lower" if said > secret else "higher", reward=0.25 if said == "6" else 0.0)
    return 0.0

@held
def world(said, secret):
    said = yield "still there"
    return 1.0
"""


def row(said: Sequence[str], answered: Sequence[str], reward: float | None, **more: Any) -> dict[str, Any]:
    """An episode as `responses/` has it."""
    turns = [{"said": text, "answered": words} for text, words in zip(said, [*answered, None], strict=True)]
    for turn in turns:
        turn |= {"tool_calls": 1} if turn["answered"] == "tool" else {}
    outcome = "unscorable" if reward is None else "scored"
    return {
        "group": 0, "member": 0, "checker": "game.py:guess", "reference": "7", "outcome": outcome, "reward": reward, "response": said[-1],
        "tokens": 9, "finish": "stop", "turns": turns, **more,
    }  # fmt: skip


ROWS = {
    "won": row(["9", "7"], ["lower"], 0.75),
    "a clue earns a part of the reward": row(["6", "7"], ["higher"], 1.0),
    "out of turns": row(["9", "8"], ["lower"], 0.0, finish="length"),
    "a tool was called in between": row(["<calc>", "9", "7"], ["tool", "lower"], 0.75),
    "at once": row(["7"], [], 0.75),
    "another reward": row(["9", "7"], ["lower"], 0.5),
    "other words": row(["9", "7"], ["higher"], 0.75),
    "it ended earlier": row(["7", "7"], ["lower"], 0.75),
    "it had ended": row(["9", "8"], ["lower"], 0.25),
    "held": row(["a", "b"], ["still there"], 1.0, checker="game.py:world"),
}


def test_episodes_are_run_again_and_what_differs_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "game.py").write_text(GAME)
    sources = {"more": {"path": "rows.jsonl", "checker": "game.py:world"}, "most": {"path": "rows.jsonl"}}
    data = {"train": None, "chat_template": False, "max_prompt_tokens": 16, "sources": sources}
    config = run_config(tmp_path, data=data, reward={"checker": "game.py:guess", "workers": 1})
    (tmp_path / "config.toml").write_text(dump(config))
    (tmp_path / "responses").mkdir()
    lines = [json.dumps(kept | {"member": place}) + "\n" for place, kept in enumerate(ROWS.values())]
    (tmp_path / "responses" / "step_000001.jsonl").write_text("".join(lines))
    with pytest.raises(SystemExit):
        main(["rewards", "audit", "."])
    printed = capsys.readouterr()
    places = {name: f"member {place}," for place, name in enumerate(ROWS)}
    diverged, _, rest = printed.out.partition("rewards that are different now:")
    assert [name for name, place in places.items() if place in diverged] == ["other words", "it ended earlier", "it had ended"]
    assert "it said 'lower' where it had said 'higher'" in diverged
    assert "it ended the episode where it had said 'lower'" in diverged
    assert [name for name, place in places.items() if place in rest] == ["another reward"]
    assert "9 episodes run again from what was said, 3 went another way; 1 answer of tools taken as recorded, not asked again" in rest
    assert "1 response not scored: a held environment is not run again" in rest
    assert "3 of 9 episodes went another way: the environment is not a function of what was said" in printed.err


def test_rewards_by_turn_that_moved_differ_though_their_sum_does_not() -> None:
    report = Report(kept=1, made=1, unreadable=0)
    turns = [{"said": "a", "answered": "b", "reward": 0.25}, {"said": "c", "answered": None, "reward": 0.75}]
    kept = Kept(step=1, row={"checker": "x", "reward": 1.0, "turns": turns})
    compare(report, kept, Verdict(reward=1.0, turn_rewards=(0.25, 0.75)))
    compare(report, kept, Verdict(reward=1.0, turn_rewards=(0.75, 0.25)))
    compare(report, kept, Verdict(reward=1.0))
    assert (report.same, len(report.different)) == (1, 2)
    assert "rewards by turn 0.25, 0.75, now 0.75, 0.25" in report.different[0]


LEDGER = GroupRow(0, 1, "p", 0, 0, "learned", 5, 0.75, 0, 2, 4, 1, 0)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, ""),
        ({"turns": [{"said": "7", "answered": None}], "response": "7"}, ""),
        ({"reward": None}, ""),
        ({"response": "8"}, "is not what the model said in its last turn"),
        ({"turns": []}, "is not what the model said in its last turn"),
        ({"turns": [{"said": "9", "answered": None}, {"said": "7", "answered": None}]}, "turn 1 of 2: a turn follows, and no answer"),
        ({"turns": [{"said": "9", "answered": "<"}, {"said": "7", "answered": "<"}]}, "turn 2 of 2: answered, and no turn follows"),
        ({"turns": [{"said": "9", "answered": "", "reward": 0.5}, {"said": "7", "answered": None, "reward": 0.5}]}, "add up to 1, and"),
        ({"turns": [{"said": 9, "answered": None}]}, "needed texts"),
        ({"versions": [1, 4]}, "sampled by versions 1 to 4, and the ledger has 2 to 4"),
        ({"versions": [3, 2]}, "sampled by versions 3 to 2"),
        ({"versions": [2, 4]}, "staleness 2, and run.max_staleness is 1"),
        ({"versions": None}, "needed two whole numbers"),
    ],
)
def test_a_kept_episode_that_cannot_have_been_is_found(change: dict[str, Any], wrong: str) -> None:
    kept = row(["9", "7"], ["lower"], 0.75) | {"versions": [3, 4]} | change
    found = list(wrong_episode("member 0", kept, LEDGER, 1))
    assert (wrong in "; ".join(found)) if wrong else found == []
    assert list(wrong_episode("member 0", {"reward": 1.0}, LEDGER, 1)) == [], "a response of one turn"
