"""An environment before a run: what `validate` and `rewards check` say of it."""

import asyncio
import json
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.commands.checks.episodes.environments import try_environment
from reward.workers.pool import Item, RewardPool

pytestmark = pytest.mark.timeout(60)

TOYS = "tests.toys.environments"
SAID = {
    "by_halves": "environment; 1 with the 2 gold turns of t.jsonl line 1; the episode ends with 1 where the model says '42'",
    "guess": "environment; the episode ends with 1 where the model says '42'; it fails where the model says 'I do not know.': ValueError: "
    "invalid literal for int() with base 10: 'I do not know.'",
    "game": "environment; it says 'called' where the model says '42'",
    "rewrites": "environment; it rewrites the context where the model says '42'",
    "stays": "held environment; it says 'held' where the model says '42'",
}
NO_RETURN = "; it has no `return` with a number, so every episode lasts until no turn is left and earns nothing but rewards inside: return"
REFUSED = {
    "wrong_gold": "the gold turns of t.jsonl line 1 got the environment ended the episode after 2 of 3 turns, needed reward 1",
    "slips": "fails, tried on t.jsonl line 1 where the model says '42': NameError: name 'no_such_name' is not defined",
    "draws": "where the model says '42' twice: the environment is not deterministic: it said …",
    "swallows": "where the model says '42' and no turn left: the environment yields again after NoMoreTurns",
    "swallows_all": "the environment yields again while it ends",
    "numbers": "the environment yielded float 0.5",
    "recursion": "RecursionError: maximum recursion depth exceeded",
}


def test_an_environment_is_tried_before_anything_starts() -> None:
    names = [f"{TOYS}:{name}" for name in (*SAID, *REFUSED)]

    async def tried() -> dict[str, str]:
        found = {}
        async with RewardPool(workers=1, timeout_s=5.0, memory_mb=1024, warm=names) as pool:
            for name in names:
                sample = Item(checker=name, response="42", reference=42, fields={"tokens": 1, "seed": 0, "row": {}}, group=("42",))
                try:
                    found[name] = await try_environment(pool, name, [("t.jsonl line 1", sample)])
                except ValueError as error:
                    found[name] = f"refused: {error}"
        return found

    found = asyncio.run(tried())
    for name, said in SAID.items():
        assert found[f"{TOYS}:{name}"].startswith(f"{TOYS}:{name}: {said}"), found[f"{TOYS}:{name}"]
        assert NO_RETURN not in found[f"{TOYS}:{name}"]
    for name, said in REFUSED.items():
        assert found[f"{TOYS}:{name}"].startswith(f"refused: checker '{TOYS}:{name}'"), found[f"{TOYS}:{name}"]
        assert said in found[f"{TOYS}:{name}"], found[f"{TOYS}:{name}"]


def test_a_held_environment_may_take_longer_to_start_than_a_turn_may_take() -> None:
    async def tried() -> str:
        name = "tests.toys.held_worlds:slow"
        sample = Item(checker=name, response="42", reference=42, fields={}, group=("42",))
        async with RewardPool(workers=2, timeout_s=0.1, memory_mb=1024, warm=[name]) as pool:
            return await try_environment(pool, name, [("t.jsonl line 1", sample)])

    assert asyncio.run(tried()).endswith("held environment; timed_out where the model says '42'")


def test_an_environment_that_never_returns_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "echo.py").write_text("def echo(said, _):\n    while True:\n        said = yield said or 'nothing'\n")

    async def tried() -> str:
        name = f"{tmp_path}/echo.py:echo"
        sample = Item(checker=name, response="42", reference=42, fields={}, group=("42",))
        async with RewardPool(workers=1, timeout_s=5.0, memory_mb=1024, warm=[name]) as pool:
            return await try_environment(pool, name, [("t.jsonl line 1", sample)])

    assert f"it says '42' where the model says '42'{NO_RETURN}" in asyncio.run(tried())


def test_a_turn_that_is_late_gets_advice_about_time(tmp_path: Path) -> None:
    slow = "import time\n\ndef slow(said, _):\n    said = yield 'go on'\n    time.sleep(9 if said == '42' else 0)\n    return 1.0\n"
    (tmp_path / "late.py").write_text(slow)

    async def tried() -> str:
        name = f"{tmp_path}/late.py:slow"
        sample = Item(checker=name, response="42", reference=42, fields={}, group=("42",))
        async with RewardPool(workers=1, timeout_s=0.3, memory_mb=1024, warm=[name]) as pool:
            return await try_environment(pool, name, [("t.jsonl line 1", sample)])

    why = "timeout: more than 0.3 s to answer a turn: such an episode has no reward, so make it faster, or raise reward.timeout_s"
    assert asyncio.run(tried()).endswith(f"it fails where the model says '42' twice: {why}")


def test_the_gold_turns_of_every_row_are_played(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"prompt": "guess", "answer": secret}) + "\n" for secret in (5, 7, -3)))
    with pytest.raises(SystemExit):
        main(["rewards", "check", str(rows), "--reference-field", "answer", "--checker", f"{TOYS}:by_halves", "--workers", "1"])
    said = capsys.readouterr()
    assert "2 passed (66.67 %), 1 failed" in said.out
    assert f"{rows} line 3: {TOYS}:by_halves: reward 0; reference -3, right answer ['-1', '-3']" in said.out
