"""docs/environments.md: every example is taken from the page and played, with the real packages where it needs them."""

import json
import re
import runpy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from reward.episodes.replay import Ran
from reward.episodes.transcript import Past, Transcript
from reward.held.protocol import Kind
from reward.held.steps import Suspended
from reward.own.function import OwnFunction

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/environments.md").read_text()
EXAMPLES = dict(re.findall(r"^### (.+?)\n+```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
LAKE = {"map_name": "4x4", "is_slippery": False}


def needs(package: str, extra: str) -> None:
    """Skip where the package is absent, and say so."""
    if find_spec(package) is None:
        pytest.skip(f"needs gatewise[{extra}]: this example was not run")


@pytest.fixture
def example(tmp_path: Path) -> Any:
    """An environment of the page, imported as a run imports it from a file."""

    def load(title: str, name: str) -> OwnFunction:
        path = tmp_path / f"my_{re.sub('[^a-z]', '_', title.lower())}.py"
        path.write_text(EXAMPLES[title])
        function = OwnFunction(f"{path}:{name}")
        function.load()
        return function

    return load


def played(world: OwnFunction, reference: Any, said: Sequence[str], *, over: bool = False) -> tuple[list[Any], list[float]]:
    """What an environment that is run again says to these turns, and the reward of each; `over`: then no turn is left."""
    fields, past, heard = {"seed": 5}, [], []
    for place, turn in enumerate(said):
        last = place == len(said) - 1
        ran: Ran = world.play(Transcript(turns=(*past, Past(turn)), score=last, over=last and over), reference, fields)
        past.append(Past(turn, ran.answered))
        heard.append(ran.answered)
    return heard[:-1], list(ran.rewards)


def held(world: OwnFunction, reference: Any, said: Sequence[str]) -> tuple[list[str], float]:
    """What an environment that is held says to these turns, and all that it pays."""
    assert world.held
    suspended, words, paid = Suspended(), [], 0.0
    steps = (
        suspended.turn(turn) if place else suspended.begin(lambda: world.begin(said[0], reference, {"seed": 5}))
        for place, turn in enumerate(said)
    )
    try:
        for step in steps:
            paid += step.reward
            if step.kind is Kind.RETURNED:
                break
            words.append(str(step.words))
    finally:
        suspended.close()
    return words, paid


def test_there_are_eight_examples() -> None:
    assert len(EXAMPLES) == 8


@pytest.mark.parametrize(
    ("title", "name", "reference", "said", "over", "heard", "rewards"),
    [
        ("A game", "guess", 7, ["3", "nine", "7"], False, ["higher, 5 left", "a number, please, 4 left"], [0, 0, 1]),
        ("A game", "guess", 7, ["9"] * 6, False, [f"lower, {left} left" for left in range(5, 0, -1)], [0] * 6),
        ("Rewards inside", "capitals", ["Oslo", "Rome"], ["Rome", "Rome!", "Oslo"], False, ["1 are missing"] * 2, [0.5, 0, 0.5]),
        ("Rewards inside", "capitals", ["Oslo", "Rome"], ["Rome", "?"], True, ["1 are missing"], [0.5, 0]),
    ],
)
def test_an_example_is_played(
    example: Any, title: str, name: str, reference: Any, said: list[str], over: bool, heard: list[str], rewards: list[float]
) -> None:
    assert played(example(title, name), reference, said, over=over) == (heard, rewards)


def test_the_gold_of_the_game_is_right(example: Any) -> None:
    world = example("A game", "guess")
    assert sum(played(world, 7, world.gold(7))[1]) == 1.0


def test_a_context_is_rewritten(example: Any) -> None:
    book = {"chapters": ["It rained.", "It snowed."], "question": "What fell last?", "answer": "snow"}
    heard, rewards = played(example("Notes in place of a long text", "novel"), book, ["none", "rain", "rain, snow", "snow "])
    assert [context[0]["content"].split("\n")[1] for context in heard] == ["none", "rain", "rain, snow"]
    assert (heard[2][0]["content"].split("\n")[-1], rewards) == ("What fell last?", [0, 0, 0, 1])


@pytest.mark.parametrize(
    ("options", "said", "heard", "reward"),
    [
        (LAKE, ["down", "down", "right", "right", "down", "right"], ["square 4", "square 8", "square 9", "square 10", "square 14"], 1.0),
        (LAKE, ["fly", " right ", "down"], ["say left, down, right or up", "square 1"], 0.0),
        ({"map_name": "8x8", "is_slippery": True}, ["right", "right", "right"], None, 0.0),
    ],
)
def test_frozen_lake(example: Any, options: dict[str, Any], said: list[str], heard: list[str] | None, reward: float) -> None:
    needs("gymnasium", "gymnasium")
    answers, rewards = played(example("FrozenLake", "frozen_lake"), options, said, over=heard is None)
    assert answers == heard or (heard is None and len(answers) == 2)
    assert sum(rewards) == reward


def test_blackjack_and_the_rows_of_both_games(example: Any, tmp_path: Path) -> None:
    needs("gymnasium", "gymnasium")
    subprocess.run([sys.executable, ROOT / "examples/gymnasium_games.py", tmp_path], check=True, timeout=60, cwd=ROOT)
    rows = [json.loads(line) for line in (tmp_path / "blackjack.jsonl").read_text().splitlines()]
    world, ends = example("Blackjack", "blackjack"), set()
    for row in rows[:40]:
        heard, rewards = played(world, row["reference"], ["?", "stick"])
        ends.add(sum(rewards))
        assert heard == ["say hit or stick"]
        assert played(world, row["reference"], ["hit"], over=True)[1] == [0.0], "too many cards, or no turn is left"
    assert ends == {0.0, 0.5, 1.0}
    lakes = [json.loads(line) for line in (tmp_path / "frozen_lake.jsonl").read_text().splitlines()]
    assert [lake["prompt"].split("\n")[0] for lake in lakes] == ["SFFF"] * 2 + ["SFFFFFFF"] * 2


def test_a_world_that_stays(example: Any) -> None:
    needs("gymnasium", "gymnasium")
    world = example("A world that stays", "cart_pole")
    words, paid = held(world, {}, ["left", "right"] * 10)
    assert (len(words), round(paid, 9)) == (19, 1.0)
    assert re.fullmatch(r"place -?\d\.\d\d, tilt -?\d\.\d\d", words[0])
    assert 0.3 < held(world, {}, ["left"] * 20)[1] < 0.7


@contextmanager
def openenv_server() -> Iterator[str]:
    """A real server of the package, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-m", "tests.toys.openenv_server", str(port)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and server.poll() is None:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", port)):
                    break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def test_openenv(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("openenv", "openenv")
    from websockets.exceptions import ConnectionClosed  # the package brings it

    world = example("OpenEnv", "play")
    with openenv_server() as address:
        monkeypatch.setitem(world._function.__globals__, "SERVER", address)
        assert held(world, {"secret": 7}, ['{"number": 5}', '{"number": 7}']) == (['{"words": "higher"}'], 1.0)
        assert held(world, {"secret": 7}, ['{"number": 9}'] * 4) == (['{"words": "lower"}'] * 3, 0.0)
        words, paid = held(world, {"secret": 7}, ["seven", "[7]", '{"nummer": 7}', '{"number": 700}', '{"number": 7}'])
        assert ([one.split(":")[0] for one in words], paid) == (["no such action"] * 4, 1.0)
        with pytest.raises(RuntimeError, match="Server error: broken"):
            held(world, {"secret": 7}, ['{"number": 97}'])
        with pytest.raises(ConnectionClosed):
            held(world, {"secret": 7}, ['{"number": 98}', '{"number": 7}'])
    with pytest.raises(ConnectionError, match="Failed to connect"):
        held(world, {"secret": 7}, ["7"])


def test_verifiers(example: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs("verifiers", "verifiers")
    monkeypatch.syspath_prepend(str(ROOT / "tests/toys/tasksets"))
    monkeypatch.setitem(EXAMPLES, "verifiers", EXAMPLES["verifiers"].replace("my-taskset", "toy-guess"))
    world = example("verifiers", "world.play")
    assert held(world, {"prompt": "guess", "secret": 7}, ["3", "7"]) == (["higher"], 1.0)
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(tmp_path / "my_verifiers.py"), run_name="__main__")
    assert len((tmp_path / "my_taskset.jsonl").read_text().splitlines()) == 1000


def test_the_files_of_the_examples_are_those_of_the_page() -> None:
    """But for types, docstrings and what a game shows."""
    world = (ROOT / "examples/openenv_world.py").read_text()
    lines = [line for line in EXAMPLES["OpenEnv"].splitlines() if line and not line.startswith("def ")]
    assert [line for line in lines if line not in world.splitlines()] == []
    games = (ROOT / "examples/gymnasium_games.py").read_text().splitlines()
    lines = [line for line in EXAMPLES["FrozenLake"].splitlines() if line and not line.startswith("def ")]
    assert [line for line in lines if line not in games] == []
