"""Tasksets of the real package verifiers: rows, rewards, environments, and what is refused."""

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from gatewise import NoMoreTurns

vf = pytest.importorskip("verifiers.v1", reason="the adapter needs gatewise[verifiers]: these tests did not run")

from gatewise.adapters.verifiers import Unsupported, Verifiers  # noqa: E402  (it imports the package)

sys.path.append(str(Path(__file__).parents[1] / "toys/tasksets"))  # tasksets are found by the name of their module


def play(world: Verifiers, reference: Any, said: Sequence[str | None]) -> tuple[list[str], object]:
    """What the environment says to these turns, and what it returns; None: no turn is left."""
    heard: list[str] = []
    episode = world.play(said[0] or "", reference)
    try:
        heard.append(next(episode))
        for turn in said[1:]:
            heard.append(episode.throw(NoMoreTurns()) if turn is None else episode.send(turn))
    except StopIteration as end:
        return heard, end.value
    episode.close()
    return heard, None


def test_tasks_become_rows(tmp_path: Path) -> None:
    world = Verifiers("toy-sums", most=2)
    world.write(tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [
        [{"role": "user", "content": "0+0="}],
        [{"role": "system", "content": "Add."}, {"role": "user", "content": "1+1="}],
    ]
    assert rows[1]["reference"] == {"idx": 1, "prompt": "1+1=", "system_prompt": "Add.", "right": 2}
    assert len({row["id"] for row in rows}) == 2
    assert [row["reference"]["secret"] for row in Verifiers("toy-guess").rows(3)] == [0, 1, 2]
    with pytest.raises(Unsupported, match=r"has no end: say how many rows, such as rows\(1000\)"):
        list(Verifiers("toy-guess").rows())


@pytest.mark.parametrize(("response", "reward"), [("4", 1.5), ("5", 0.5), ("", 0.5), ("4" + " " * 50 + "x", 0.0)])
def test_rewards_are_a_checker_and_an_episode_of_one_turn(response: str, reward: float) -> None:
    world = Verifiers("toy-sums")
    reference = list(world.rows())[2]["reference"]
    assert asyncio.run(world.score(response, reference)) == reward
    assert play(world, reference, [response]) == ([], reward)


@pytest.mark.parametrize(
    ("said", "heard", "reward", "stopped"),
    [
        (["7"], [], 1.0, "user_closed"),
        (["3", "9", "7"], ["higher", "lower"], 0.5, "user_closed"),
        (["x", "7"], ["lower"], 1.0, "user_closed"),
        (["3", "give up"], ["higher"], 0.0, "gave_up"),
        (["1", "2", "3", "4"], ["higher"] * 3, 0.0, "max_turns"),
        (["1", "2", None], ["higher"] * 2, 0.0, "max_turns"),
        (["1", "2"], ["higher"] * 2, None, None),
    ],
)
def test_its_environment_is_an_environment(said: list[str | None], heard: list[str], reward: float | None, stopped: str | None) -> None:
    world = Verifiers("toy-guess")
    import toy_guess

    toy_guess.CLOSED.clear()
    reference = list(world.rows(8))[7]["reference"]
    assert play(world, reference, said) == (heard, reward)
    assert ([stopped] if stopped else []) == toy_guess.CLOSED


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("runtime", "Beyond.right needs a runtime"),
        ("container", "Contained runs in a container"),
        ("image", "Quiet runs in a container"),
        ("setup", "SetsUp.setup needs a runtime"),
        ("intercept", "Intercepts.change changes requests"),
        ("stop", "StopsRequests.at_request changes requests"),
        ("no prompt", "Quiet has no prompt: the environment speaks first"),
    ],
)
def test_what_a_task_needs_beyond_the_model_is_refused_with_its_rows(kind: str, message: str) -> None:
    with pytest.raises(Unsupported, match=message):
        list(Verifiers("toy-beyond", kind=kind).rows())


def test_environments_that_break_a_rule_are_errors() -> None:
    with pytest.raises(Unsupported, match="has the agents assistant, user, needed one"):
        Verifiers("toy-sums", env="user-sim")
    with pytest.raises(ModuleNotFoundError, match="taskset 'no-such' not found"):
        Verifiers("no-such")
    with pytest.raises(ValueError, match="wrong_setting"):
        Verifiers("toy-sums", wrong_setting=1)
    with pytest.raises(Unsupported, match="has an environment, GuessEnv: use `play` in place of `score`"):
        asyncio.run(Verifiers("toy-guess").score("1", {"secret": 1}))
    once, twice = (row["reference"] for row in Verifiers("toy-unpaid").rows())
    with pytest.raises(ValueError, match="the task gave no reward"):
        play(Verifiers("toy-unpaid"), once, ["a"])
    with pytest.raises(RuntimeError, match="another turn without words"):
        play(Verifiers("toy-unpaid"), twice, ["a", "b"])
