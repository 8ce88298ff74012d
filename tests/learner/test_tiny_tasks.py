"""Each task's rows are right and its held-out ones never trained on; its transcripts teach the form, and only what the model says."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from examples.calculator import multiply
from examples.letter_game import find
from learner.tiny import guesses, products
from learner.tiny.make import make_tiny
from learner.tiny.tasks import TASKS
from learner.tiny.tokenizer import make_tokenizer
from learner.tiny.transcript import IGNORED, encode
from reward.tools.call import Call
from reward.tools.formats.pythonic import find_calls

MARKS = ("<think>", "</think>")


@pytest.mark.parametrize("name", TASKS)
def test_held_out_rows_are_disjoint_from_train_differ_by_seed_and_fit_the_characters(name: str) -> None:
    task = TASKS[name]
    train, held_out = task.split(0)
    assert len(held_out) == 256
    assert not {json.dumps(row) for row in train} & {json.dumps(row) for row in held_out}
    assert task.split(0)[1] == held_out != task.split(1)[1]
    assert set("".join(row["prompt"] for row in train)) <= set(task.characters)


def test_products_are_right_and_all_there() -> None:
    train, held_out = products.split_products(0)
    asked = {row["prompt"]: row["answer"] for row in (*train, *held_out)}
    assert len(asked) == 8100
    assert all(asked[f"{a}*{b}="] == str(a * b) for a in range(10, 100) for b in range(10, 100))


def test_every_secret_is_there_and_no_number_of_a_game_tells_it() -> None:
    train, held_out = guesses.split_games(0)
    of = Counter(row["secret"] for row in (*train, *held_out))
    assert of == dict.fromkeys(guesses.LETTERS, 90)
    assert {row["secret"] for row in (*train, *held_out) if row["prompt"] == "37 a-p:"} == set(guesses.LETTERS)


def test_attempts_at_products_call_sometimes_and_slip_sometimes() -> None:
    train, _ = products.split_products(0)
    shown = products.attempts(train, 2000, random.Random(0))
    called = [transcript for transcript in shown if len(transcript) > 2]
    calls = [argument(transcript[1]) for transcript in called]
    assert [transcript[2] for transcript in called] == [str(multiply(**call)) for call in calls]  # as the tool answers in a run
    assert len(called) / 2000 == pytest.approx(products.CALLS, abs=0.04)
    meant = [transcript[0] == "{a}*{b}=".format(**call) for transcript, call in zip(called, calls, strict=True)]
    assert 1 - sum(meant) / len(meant) == pytest.approx(products.WRONG, abs=0.07)
    assert 1 - sum(t[2] == t[3] for t in called) / len(called) == pytest.approx(products.MISREAD, abs=0.07)


def argument(said: str) -> dict[str, int]:
    """The arguments of a call, as a run reads them."""
    (call,) = find_calls(said, MARKS, opened=False)
    assert isinstance(call, Call)
    assert call.name == multiply.__name__
    return call.arguments


def test_a_slip_changes_one_digit_and_keeps_a_number_of_that_length() -> None:
    rng = random.Random(0)
    for _ in range(200):
        number = str(rng.randrange(10, 10_000))
        slipped = products.slip(number, rng)
        assert sum(a != b for a, b in zip(number, slipped, strict=True)) == 1
        assert str(int(slipped)) == slipped


def test_games_shown_are_games_of_the_environment() -> None:
    train, _ = guesses.split_games(0)
    rng, found, heeded = random.Random(0), 0, 0
    for row in train:
        transcript = guesses.attempt(row, rng)
        says, words = transcript[1::2], transcript[2::2]
        answered, worth = played(says, row["secret"])
        assert (transcript[0], tuple(answered)) == (row["prompt"], words)
        assert worth == 1.0 or len(says) == guesses.TURNS
        found += worth == 1.0
        heeded += heeds(says, words)
    assert guesses.ATTENTIVE < heeded / len(train) < 0.5  # chance heeds a few answers too
    assert 0.3 < found / len(train) < 0.55  # something to learn from, and something to learn


def heeds(says: tuple[str, ...], words: tuple[str, ...]) -> bool:
    """Whether every guess lies in what the answers before it leave."""
    heard = list(zip(says, words, strict=False))
    return all(guesses.hint(before, said) == word and said != before for n, said in enumerate(says) for before, word in heard[:n])


def played(says: tuple[str, ...], secret: str) -> tuple[list[str], float | None]:
    """What the environment answers, and what it returns, None where it would go on."""
    world = find(says[0], secret)
    words = []
    try:
        words.append(next(world))
        for said in says[1:]:
            words.append(world.send(said))
    except StopIteration as end:
        return words, end.value
    return words[:-1], None


@pytest.mark.parametrize(
    ("says", "words", "worth"),
    [
        (("g",), [], 1.0),
        (("a", "k", "g"), ["up", "down"], 1.0),
        (("a", "k"), ["up"], None),
        (("",), [], 0.0),
        (("a", "kg"), ["up"], 0.0),
        (("G",), [], 0.0),
        (("7",), [], 0.0),
    ],
)
def test_the_letter_game(says: tuple[str, ...], words: list[str], worth: float | None) -> None:
    assert played(says, "g") == (words, worth)


def test_only_what_the_model_says_is_learned() -> None:
    tokenizer = make_tokenizer()
    ids, labels = encode([("10 a-p:", "c", "up", "k"), ("11 a-p:", "g")], tokenizer)
    assert [tokenizer.decode(row[row != tokenizer.pad_token_id]) for row in ids] == ["10 a-p:c<eos>upk<eos>", "11 a-p:g<eos>"]
    assert [tokenizer.decode(row[row != IGNORED]) for row in labels] == ["c<eos>k<eos>", "g<eos>"]
    assert bool(((labels == ids) | (labels == IGNORED)).all())


def test_a_folder_names_its_task_and_is_refused_for_another(tmp_path: Path) -> None:
    make_tiny(tmp_path / "game", task="game", progress=lambda line: None, most_steps=1)
    made = json.loads((tmp_path / "game" / "made.json").read_text())
    assert (made["task"], made["steps"], made["seed"]) == ("game", 1, 0)
    with pytest.raises(ValueError, match="made with task game, not sums"):
        make_tiny(tmp_path / "game")
