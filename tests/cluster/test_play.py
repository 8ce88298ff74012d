"""`gatewise play`: a person or an engine in the model's place, with the answers and the reward of a run."""

import asyncio
import io
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cluster.commands.play.engine import Spoken
from cluster.commands.play.lines import Left, Lines
from cluster.commands.play.person import Person
from cluster.commands.play.row import find_prompt
from cluster.commands.play.screen import Screen, Shown
from cluster.commands.play.table import InProcess
from configs.errors import DataError
from configs.schema import Config
from rollout.transcript.episode import Answer, Reply, Turn
from rollout.types import Outcome, Prompt, Response, Verdict
from tests.toys.run import run_config

END = 0  # the token that ends a turn


class Letters:
    """A tokenizer of one token a letter, which knows small letters, digits and a few signs."""

    eos_token_id, special_tokens_map, added_tokens_decoder = END, {"eos_token": "$"}, {}
    letters = "$abcdefghijklmnopqrstuvwxyz0123456789<>? "

    def get_vocab(self) -> dict[str, int]:
        return {letter: place for place, letter in enumerate(self.letters)}

    def encode(self, text: str, **_: Any) -> list[int]:
        return [self.letters.index(letter) for letter in text if letter in self.letters]

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return "".join(self.letters[place] for place in ids)

    def apply_chat_template(self, *_: Any, **__: Any) -> str:
        raise ValueError("there is none")


class Speller:
    """Appends words as they are."""

    def for_prompt(self, prompt: Prompt) -> "Speller":
        return self

    def of(self, words: str, role: str, last_token: int) -> list[int]:
        return Letters().encode(words)

    def context(self, messages: Sequence[Any]) -> list[int]:
        return Letters().encode(messages[0]["content"])


def prompt(name: str = "p", text: str = "7?") -> Prompt:
    ids = np.array(Letters().encode(text), np.int32)
    return Prompt(prompt_id=name, token_ids=ids, reference=7, checker="game.py:guess", text=text, where="rows.jsonl line 8")


async def guess(turns: Sequence[Turn]) -> Answer:
    """The number is 7; "new" rewrites the context, "broken" breaks the episode."""
    said = turns[-1].said
    if said == "new":
        return Answer(rewritten=({"role": "user", "content": "again?"},))
    if said == "broken":
        return Answer(failure=Verdict.failed(Outcome.CRASHED, "died"))
    return Answer() if said == "7" else Answer(words="<" if said < "7" else ">", tool_calls=int(said == "9"))


def played(typed: str, *, reply: Reply | None = guess, **rollout: Any) -> tuple[Response | None, list[str]]:
    """The response that lines from a pipe make, and what was printed."""
    said: list[str] = []
    screen = Screen(said.append)
    sizes = {"group_size": 2, "groups_per_step": 1, "max_response_tokens": 20, "max_turns": 3} | rollout
    config: Config = run_config(Path("x"), rollout=sizes)
    speller: Any = Speller()
    person = Person(config, Letters(), [END], speller, Lines(io.StringIO(typed), said.append), screen)

    async def run() -> Response:
        (one,) = [response async for _, response in person.respond_group(0, prompt(), 0, 1, None, lambda member: reply)]
        return one

    try:
        response = asyncio.run(run())
    except Left:
        return None, said
    screen.end(response, config.rollout)
    return response, said


def test_what_is_typed_becomes_the_tokens_of_an_episode_and_every_answer_is_shown() -> None:
    response, said = played("3\n9\n7\n")
    assert response is not None
    assert Letters().decode(response.token_ids.tolist()) == "3$<9$>7$"
    assert response.turns is not None
    assert response.turns.tolist() == [[0, 2], [3, 5], [6, 8]]
    assert [(turn.said, turn.answer.words) for turn in response.transcript] == [("3", "<"), ("9", ">"), ("7", None)]
    assert said == [
        "turn 1> 3", "answer   <", "turn 2> 9", "tool     >", "turn 3> 7", "end      3 turns, 6 tokens: the episode is over",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("typed", "rollout", "shown"),
    [
        ("1\n2\n3\n", {}, "no turn is left (rollout.max_turns = 3), so the model does not read the last answer"),
        ("1\n2\n", {"max_response_tokens": 5}, "no room is left for the last answer"),
        ("1\n2345\n", {"max_response_tokens": 6}, "the turn was cut off at rollout.max_response_tokens = 6"),
        ("1\n2345\n", {"max_response_tokens": 6}, "a turn of 4 tokens is cut off: only 3 are left"),
        ("broken\n", {}, "1 turn, 7 tokens: the episode broke"),
        ("Ü7\n", {}, "in the model's tokens this is '7'"),
        ("new\n7\n", {}, "context  rewritten, up to the model's next turn:"),
        ("\n7\n", {}, "turn 1>"),
        ('"""3\n4"""\n7\n', {}, "in the model's tokens this is '34'"),
    ],
)
def test_the_ends_and_accidents_of_an_episode_are_named(typed: str, rollout: dict[str, int], shown: str) -> None:
    response, said = played(typed, **rollout)
    assert response is not None
    assert any(shown in line for line in said), said


def test_a_row_of_one_turn_ends_with_it_and_the_end_of_the_input_leaves_the_episode() -> None:
    response, said = played("42\n", reply=None)
    assert response is not None
    assert (response.text, response.transcript) == ("42", ())
    assert said[-1] == "end      1 turn, 3 tokens: a row of one turn"
    assert played("3\n")[0] is None
    assert played("")[0] is None
    assert played('"""never ended\n')[0] is None


def test_bytes_that_are_no_text_do_not_end_an_episode() -> None:
    source = io.TextIOWrapper(io.BytesIO(b"\xff7\r\n"), encoding="utf-8")
    assert Lines(source, lambda text: None).turn("> ") == "�7"


def test_the_reward_is_shown_with_its_parts_and_turns_and_control_characters_do_not_reach_the_terminal() -> None:
    said: list[str] = []
    screen = Screen(said.append)
    screen.verdict(prompt(), Verdict(reward=0.75, parts={"correct": 1.0, "short": 0.5}, turn_rewards=(0.25, 0.5)))
    screen.verdict(prompt(), Verdict.failed(Outcome.TIMED_OUT, "late\x1b[2J"))
    screen.answer(Answer(words="a\nb\x07", tool_calls=1, tool_errors=1))
    assert said == [
        "reward   0.75 (correct 1, short 0.5)", "         by turn: 0.25, 0.5", "right    7 is the row's reference",
        "reward   none, timed_out: late\\x1b[2J", "right    7 is the row's reference", "error    a", "         b\\x07",
    ]  # fmt: skip


SETS = {"train": [prompt(one) for one in ("b/0", "b/1", "12", "7")], "eval": [prompt("0")], "empty": []}


@pytest.mark.parametrize(
    ("name", "row", "found"),
    [("train", "0", "b/0"), ("train", "b/1", "b/1"), ("train", "3", "7"), ("train", "7", "7"), ("train", "1", "b/1"), ("eval", "0", "0")],
)
def test_a_row_is_found_by_its_id_or_else_by_its_number(name: str, row: str, found: str) -> None:
    assert find_prompt(SETS, name, row).prompt_id == found


@pytest.mark.parametrize(
    ("name", "row", "wrong"),
    [
        ("train", "9", "give a number from 0 to 3, or one of 4 ids"), ("train", "-1", "has no row"), ("train", "", "has no row"),
        ("train", "b/", "such as b/0, b/1|such as b/1, b/0"), ("tests", "0", 'no set "tests": the config has train, eval, empty'),
        ("empty", "0", "no prompts"), ("train", "³", "has no row"),
    ],
)  # fmt: skip
def test_a_row_that_is_not_there_is_refused_with_those_that_are(name: str, row: str, wrong: str) -> None:
    with pytest.raises(DataError, match=wrong):
        find_prompt(SETS, name, row)


class Saying:
    """An engine that says given turns."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    async def respond_group(
        self, group: int, asked: Prompt, seed: int, size: int, temperature: float | None, reply_to: Any, /
    ) -> AsyncIterator[tuple[int, Any]]:
        reply, turns = reply_to(0), []
        for text in self.texts:
            answer = await reply([*turns, Turn(said=text)]) if reply and text != "cut" else Answer()
            turns.append(Turn(said=text, answer=answer))
        yield 0, SimpleNamespace(transcript=tuple(turns) if reply else (), text=self.texts[-1])


@pytest.mark.parametrize(
    ("texts", "typed", "reply", "printed"),
    [
        (("3", "7"), None, guess, ["turn 1   3", "answer   <", "turn 2   7"]),
        (("3", "cut"), None, guess, ["turn 1   3", "answer   <", "turn 2   cut"]),
        (("42",), None, None, ["turn 1   42"]),
        (("3", "4", "7"), "e\n", guess, ["turn 1   3", "answer   <", "...", "turn 2   4", "answer   <", "turn 3   7"]),
    ],
)
def test_an_engine_is_heard_turn_by_turn(texts: tuple[str, ...], typed: str | None, reply: Any, printed: list[str]) -> None:
    said: list[str] = []
    lines = None if typed is None else Lines(io.StringIO(typed), lambda text: said.append("..."))
    spoken = Spoken(Saying(*texts), lines, Screen(said.append))

    async def run() -> None:
        async for _ in spoken.respond_group(0, prompt(), 0, 1, None, lambda member: reply):
            pass

    asyncio.run(run())
    assert said == printed


def test_an_episode_that_is_left_is_left_by_the_reward_side_too() -> None:
    """What is held for it ends: the questions go to the scorer in this process."""
    left: list[str] = []

    async def score(asked: Any) -> list[Verdict]:
        return [Verdict(reward=1.0)]

    scorer: Any = SimpleNamespace(score=score, reply=score, leave=left.extend)
    asyncio.run(InProcess(scorer).leave.remote(["play/0"]))
    assert left == ["play/0"]
    shown = Shown(guess, Screen(lambda text: None), said=False)
    assert asyncio.run(shown([Turn(said="3")])).words == "<"
