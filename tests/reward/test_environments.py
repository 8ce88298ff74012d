"""A checker that yields is an environment: run from its start over a transcript, in real workers, however it breaks."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from reward.episodes.replay import replay
from reward.episodes.transcript import EpisodeError, Past, Transcript
from reward.episodes.yielded import LONGEST_WORDS
from reward.workers.pool import Item, RewardPool
from reward.workers.protocol import Message
from rollout.types import Outcome, Verdict
from tests.toys import environments

pytestmark = pytest.mark.timeout(60)

TOYS = "tests.toys.environments"
WORLD = {"row": {"level": 1}, "question": "what?", "index": 2, "seed": 7, "prompt": "p"}


@pytest.fixture(scope="module")
def pool() -> Iterator[RewardPool]:
    made = RewardPool(workers=1, timeout_s=1.0, memory_mb=512, warm=[f"{TOYS}:guess", f"{TOYS}:stays", f"{TOYS}:seeded"])
    yield made
    made.close()


def item(name: str, *turns: Any, reference: Any = None, score: bool = False, over: bool = False) -> Item:
    past = tuple(Past(turn) if isinstance(turn, str) else Past(*turn) for turn in turns)
    transcript = Transcript(turns=past, score=score, over=over)
    return Item(checker=f"{TOYS}:{name}", response=past[-1].said, reference=reference, fields=WORLD, transcript=transcript)


def ask(pool: RewardPool, *items: Item) -> list[Verdict]:
    return asyncio.run(pool.score(items))


def words(verdict: Verdict) -> str | None:
    assert verdict.reward is not None, verdict.failure
    return verdict.words.get("words")


def test_the_pool_says_which_functions_are_environments_and_which_are_held(pool: RewardPool) -> None:
    asyncio.run(pool.ready())
    assert pool.asks == {f"{TOYS}:guess": ["yields"], f"{TOYS}:stays": ["yields", "held"], f"{TOYS}:seeded": ["seed", "yields"]}


def test_a_game_is_played_turn_by_turn_and_scored_from_its_transcript(pool: RewardPool) -> None:
    first, second = ("3", "higher, 5 left"), ("9", "lower, 4 left")
    asked = [
        item("guess", "3", reference=7),
        item("guess", first, "9", reference=7),
        item("guess", first, second, "7", reference=7),
        item("guess", first, second, "7", reference=7, score=True),
        item("guess", first, "9", reference=7, score=True, over=True),
    ]
    verdicts = ask(pool, *asked)
    assert [words(verdict) for verdict in verdicts] == ["higher, 5 left", "lower, 4 left", None, None, None]
    assert [verdict.reward for verdict in verdicts[3:]] == [1.0, 0.0], "out of turns is worth 0 and no failure"
    assert all(verdict.turn_rewards == () for verdict in verdicts)


SAYS = {
    "by_name": json.dumps(["hi", {"level": 1}, "what?", 2, True]),
    "game": "called",
    "game.method": "method called",
    "partial": "method called",
    "wrapped": "wrapped 7",
    "nested": "higher, 5 left",
    "stays": "held",
    "awaits": "awaited",
    "threads": "from a thread",
    "surrogate": "a?b",
    "empty": "",
}


def test_whatever_yields_may_be_called_with_what_its_parameters_name(pool: RewardPool) -> None:
    said = {name: item(name, "3" if name == "nested" else "hi", reference=7) for name in SAYS}
    assert dict(zip(said, map(words, ask(pool, *said.values())), strict=True)) == SAYS


def test_an_environment_whose_yield_is_never_reached_is_a_checker(pool: RewardPool) -> None:
    right, wrong, over = (
        item("no_turn", "a", reference="a"),
        item("no_turn", "a", reference="b", score=True),
        item("no_turn", "a", reference="a", score=True, over=True),
    )
    verdicts = ask(pool, right, wrong, over)
    assert [(verdict.reward, verdict.words) for verdict in verdicts] == [(1.0, {}), (0.0, {}), (1.0, {})]


def test_the_seed_decides_what_a_world_says(pool: RewardPool) -> None:
    (first,) = ask(pool, item("seeded", "a"))
    again, scored = ask(pool, item("seeded", ("a", words(first)), "b"), item("seeded", ("a", words(first)), "stop", score=True))
    assert words(again) != words(first)
    assert scored.reward == 1.0


def test_rewards_inside_an_episode_belong_to_the_turn_before_them(pool: RewardPool) -> None:
    turns = (("a", "one"), ("b", "two"), ("c", "three"))
    whole, early, caught, uncaught = ask(
        pool,
        item("rewards", *turns, "d", score=True),
        item("rewards", turns[0], "b", score=True, over=True),
        item("catches", ("a", "a?"), "b", score=True, over=True),
        item("catches_exceptions", "a", score=True, over=True),
    )
    assert (whole.reward, whole.turn_rewards, whole.parts) == (0.75, (0.25, -0.5, 0.0, 1.0), {"correct": 0.75})
    assert (early.reward, early.turn_rewards) == (-0.25, (0.25, -0.5)), "uncaught, the rest is worth 0, and what was given stays"
    assert (caught.reward, caught.turn_rewards) == (0.75, (0.125, 0.625)), "what it returns for want of turns is the last turn's"
    assert uncaught.reward == 0.0, "`except Exception` does not catch NoMoreTurns"


def test_a_rewritten_context_is_said_and_recognised_again(pool: RewardPool) -> None:
    messages = [{"role": "user", "content": "so far: a"}]
    first, scored, other = ask(
        pool,
        item("rewrites", "a"),
        item("rewrites", ("a", messages), "end", score=True),
        item("rewrites", ("a", [{"role": "user", "content": "so far: b"}]), "end", score=True),
    )
    assert json.loads(first.words["messages"]) == messages
    assert (scored.reward, scored.turn_rewards) == (1.5, (0.5, 1.0))
    assert "it said \"Rewrite([{'role': 'user', 'content': 'so far: a'}])\" where it had said" in str(other.failure)


def test_words_that_were_cut_are_recognised_by_what_is_left_of_them(pool: RewardPool) -> None:
    (said,) = ask(pool, item("long_words", "a"))
    assert words(said) == "x" * (LONGEST_WORDS - 5) + "[cut]"
    cut, split, wrong = ask(
        pool,
        item("long_words", ("a", "xxx[cut]", True), "end", score=True),
        item("long_words", ("a", "xxx\ufffd[cut]", True), "end", score=True),
        item("long_words", ("a", "xyx[cut]", True), "end", score=True),
    )
    assert (cut.reward, split.reward) == (1.0, 1.0)
    assert "not deterministic" in str(wrong.failure)


BROKEN = [  # name, reference, turns, scored for want of turns, what the failure says
    ("yields_this", "none", ["a"], False, "yielded None ({file}:{line} in yields_this), needed text: say something to the model"),
    ("yields_this", "bytes", ["a"], False, "yielded bytes b'x' ({file}:{line} in yields_this), needed text: decode it"),
    ("yields_this", "number", ["a"], False, "yielded int 5"),
    ("yields_this", "pair", ["a"], False, "needed text: write yield Words(text, reward=...)"),
    ("yields_this", "list", ["a"], False, "needed text: write yield Rewrite(messages) for a new context"),
    ("yields_this", "object", ["a"], False, "yielded type <class 'object'>"),
    ("yields_this", "words of none", ["a"], False, "yielded Words of None"),
    ("yields_this", "reward", ["a"], False, "yielded the reward 'much' ({file}:{line} in yields_this), needed a finite number"),
    ("yields_this", "infinite", ["a"], False, "yielded the reward inf"),
    ("yields_this", "messages of text", ["a"], False, "rewrote the context as str 'x'"),
    ("yields_this", "no messages", ["a"], False, "rewrote the context as list []"),
    ("yields_this", "role", ["a"], False, "as message 1 ({file}:{line} in yields_this), needed {{\"role\": one of system, developer, user"),
    ("yields_this", "content", ["a"], False, "rewrote the context with dict {{'role': 'user', 'content': None}} as message 1"),
    ("yields_this", "assistant", ["a"], False, "so that it ends with the assistant"),
    ("yields_this", "endless", ["a"], False, "bytes of messages"),
    ("returns_this", "none", ["a"], False, "the environment returned None, needed a number: some way through it ends without `return`"),
    ("returns_this", "text", [("go on", "on"), "a"], True, "the environment returned str '1.0', needed a number: return the number itself"),
    ("returns_this", "list", ["a"], True, "the environment returned list [1.0]"),
    ("returns_this", "nan", ["a"], True, "the environment returned nan, needed a finite number"),
    ("raises", "value", [("a", "first"), "b"], True, "ValueError: of mine ({file}:"),
    ("raises", "exit", [("a", "first"), "b"], False, "SystemExit: 0"),
    ("raises", "closed", [("a", "first"), "b"], False, "GeneratorExit"),
    ("raises", "turns", [("a", "first"), "b"], False, "NoMoreTurns"),
    ("raises", "interrupt", [("a", "first"), "b"], False, "KeyboardInterrupt"),
    ("runs_out", None, ["a"], False, "RuntimeError: generator raised StopIteration"),
    ("recursion", None, ["a"], False, "RecursionError: maximum recursion depth exceeded"),
    ("swallows", None, ["a"], True, "the environment yields again after NoMoreTurns ({file}:"),
    ("swallows_all", None, ["a"], False, "the environment yields again while it ends ({file}:"),
    ("says_goodbye", None, ["a"], False, "while it ends ({file}:"),
    ("draws", None, [("a", "the same words, and then " * 4 + "?"), "b"], False, "it said …' and then 0."),
    ("guess", 7, [("3", "higher"), "7"], True, "is not deterministic: it said 'higher, 5 left' where it had said 'higher': draw"),
    ("guess", 7, [("7", "higher"), "7"], True, "it ended the episode where it had said 'higher'"),
    ("numbers", None, ["a"], False, "yielded float 0.5"),
]  # fmt: skip


def test_what_breaks_an_environment_has_no_reward_and_says_why(pool: RewardPool) -> None:
    good = item("guess", "7", reference=7)
    broken = [item(name, *turns, reference=of, score=over, over=over) for name, of, turns, over, _ in BROKEN]
    verdicts = ask(pool, *(one for bad in broken for one in (bad, good)))
    assert {verdict.reward for verdict in verdicts[1::2]} == {1.0}, "the neighbours in their chunks are unharmed"
    source = environments.__file__
    line = next(n for n, text in enumerate(Path(source).read_text().splitlines(), start=1) if "yield values[" in text)
    for (name, *_, said), verdict in zip(BROKEN, verdicts[::2], strict=True):
        assert verdict.outcome is Outcome.UNSCORABLE, (name, verdict)
        assert said.format(file=source, line=line) in str(verdict.failure), (name, verdict.failure)


DEADLY = {
    "turns_in_circles": (Outcome.TIMED_OUT, "timeout: "),
    "dies": (Outcome.CRASHED, "crash: the worker was killed by SIGKILL"),
    "eats": (Outcome.CRASHED, "memory: "),
}


@pytest.mark.end_to_end
def test_what_ends_a_worker_costs_one_episode_its_reward_and_the_transcript_is_quarantined() -> None:
    kept: list[Item] = []
    made = RewardPool(workers=2, timeout_s=0.5, memory_mb=512, on_quarantine=lambda one, _: kept.append(one), warm=[f"{TOYS}:guess"])
    deadly = [item(name, *(["a"] if name == "turns_in_circles" else [("a", "first"), "b"])) for name in DEADLY]
    good = [item("guess", "7", reference=7)] * 3
    try:
        verdicts = asyncio.run(made.score([one for bad in deadly for one in (*good, bad)]))
    finally:
        made.close()
    for (name, (outcome, begins)), verdict in zip(DEADLY.items(), verdicts[3::4], strict=True):
        assert (verdict.outcome, str(verdict.failure)[: len(begins)]) == (outcome, begins), (name, verdict)
    assert {verdict.reward for place, verdict in enumerate(verdicts) if place % 4 != 3} == {1.0}
    assert {one.checker.rpartition(":")[2] for one in kept} == {"dies", "eats"}
    assert all(one.transcript is not None and one.transcript.turns[0].said == "a" for one in kept)


def test_a_generator_that_has_run_before_is_refused() -> None:
    transcript = Transcript.of("a")
    assert replay(lambda said: environments.cached(said, None), transcript).reward == 0.0
    with pytest.raises(EpisodeError, match=r"gave a generator that has run before, needed a new one for each call"):
        replay(lambda said: environments.cached(said, None), transcript)


def test_what_an_environment_cleans_up_is_cleaned_up_after_every_run() -> None:
    def play(*turns: Sequence[Any], **asked: bool) -> None:
        replay(lambda said: environments.cleans_up(said, None), Transcript(turns=tuple(Past(*turn) for turn in turns), **asked))

    environments.STATE.clear()
    play(["x"])
    play(["x", "a"], ["y"])
    play(["x", "a"], ["y", "b"], ["z"], score=True)
    with pytest.raises(EpisodeError):
        play(["x", "other"], ["y"])
    assert environments.STATE == ["closed"] * 4


def test_what_an_author_imports_is_light() -> None:
    heavy = "[name in sys.modules for name in ('pydantic', 'numpy', 'torch')]"
    code = f"import sys; from gatewise import NoMoreTurns, Rewrite, Words, held; print(len(sys.modules), *{heavy})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert (int(told[0]) < 150, told[1:]) == (True, ["False"] * 3), told


@pytest.mark.parametrize("turns", ['"x"', "[1]", '["0.5"]', "[NaN]", "{}", "0.5"])
def test_a_worker_s_line_with_rewards_that_are_none_is_refused(turns: str) -> None:
    line = '["scored", 0, 1.0, "", {}, TURNS]'
    assert Message.decode(line.replace("TURNS", "[0.5]").encode()).turns == [0.5]
    with pytest.raises(ValueError, match=r"rewards must be finite|not a worker's message"):
        Message.decode(line.replace("TURNS", turns).encode())
