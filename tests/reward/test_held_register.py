"""Which episodes have a world and which wait: in every order of events each question gets its answer, and the bound holds."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reward.held.episode import GONE, OTHER, Beginning, Episode, Heard, Result, Results
from reward.held.protocol import Kind, Step
from reward.held.register import LEFT, MOST_PAST, Register
from rollout.types import Outcome, Verdict

BEGIN = Beginning(checker="game", reference="1", fields="{}")
DIED = Verdict.failed(Outcome.CRASHED, "crash: died")


def words(text: str) -> Step:
    return Step(kind=Kind.WORDS, words=text)


END = Step(kind=Kind.RETURNED, reward=1.0)


class Toy:
    """A register with worlds that answer when the test says so."""

    def __init__(self, most: int) -> None:
        self.register = Register(most)
        self.serial = 0
        self.busy: dict[int, Episode] = {}  # worlds that owe an answer, by serial
        self.idle: dict[int, Episode] = {}

    def ask(self, name: str, *heard: Heard) -> Future[Results]:
        caller: Future[Results] = Future()
        episode = self.register.ask(name, BEGIN if len(heard) == 1 else None, heard, caller)
        if episode is not None and episode.serial is not None:
            self.busy[episode.serial] = self.idle.pop(episode.serial)
        self.fork()
        return caller

    def fork(self) -> None:
        while (episode := self.register.next(self.serial + 1)) is not None:
            self.serial += 1
            self.busy[self.serial] = episode

    def answer(self, serial: int, result: Result) -> None:
        """A world answers; one whose episode is over then is gone at once."""
        episode = self.busy.pop(serial)
        self.register.settle(episode.name, result)
        if episode.over:
            self.gone()
        else:
            self.idle[serial] = episode

    def gone(self) -> None:
        self.register.worlds -= 1
        self.fork()

    def leave(self, name: str) -> None:
        for episode in self.register.leave(name):
            if episode.serial is not None:
                self.busy.pop(episode.serial, None)
                self.idle.pop(episode.serial, None)
                self.gone()


def test_the_same_question_gets_the_same_answer_and_the_world_hears_it_once() -> None:
    toy = Toy(1)
    first, again = toy.ask("a", "one"), toy.ask("a", "one")
    assert not first.done()
    toy.answer(1, words("1"))
    assert first.result() == again.result() == toy.ask("a", "one").result() == (words("1"),)
    second = toy.ask("a", "one", "two")
    assert list(toy.busy) == [1]
    toy.answer(1, END)
    assert second.result() == toy.ask("a", "one", "two").result() == (words("1"), END)
    assert toy.ask("a", "one", "two", "three").result()[-1] == END
    assert toy.ask("a", "one").result() == (words("1"),)


@pytest.mark.parametrize("heard", [("other",), ("other", "two"), ("one", None, "three"), ("one", "two", "three", "four")])
def test_a_question_with_another_transcript_is_a_failure_and_the_world_hears_nothing(heard: tuple[Heard, ...]) -> None:
    toy = Toy(1)
    toy.ask("a", "one")
    toy.answer(1, words("1"))
    (failure,) = toy.ask("a", *heard).result()
    assert isinstance(failure, Verdict)
    assert failure.failure == OTHER
    assert not toy.busy


def test_an_episode_whose_world_is_gone_fails_and_is_not_begun_again() -> None:
    (failure,) = Toy(1).ask("a", "one", "two").result()
    assert isinstance(failure, Verdict)
    assert (failure.outcome, failure.failure) == (Outcome.CRASHED, GONE)


def test_a_world_that_dies_between_two_turns_fails_the_next_question_and_frees_its_place() -> None:
    toy = Toy(1)
    toy.ask("a", "one")
    toy.answer(1, words("1"))
    waiting = toy.ask("b", "one")
    toy.register.settle("a", DIED)
    toy.idle.clear()
    toy.gone()
    assert toy.ask("a", "one", "two").result()[-1] == DIED
    assert toy.ask("a", "one").result() == (words("1"),)
    toy.answer(2, words("1"))
    assert waiting.result() == (words("1"),)


def test_an_episode_that_was_left_while_it_waits_never_gets_a_world() -> None:
    toy = Toy(1)
    toy.ask("engine-1.0/a", "one")
    asked = [toy.ask(f"engine-{engine}.0/b", "one") for engine in (1, 2, 10)]
    toy.leave("engine-1.0/")
    assert asked[0].result() == (LEFT,)
    assert [episode.name for episode in toy.busy.values()] == ["engine-2.0/b"], "its place is free, and engine 10 is another one"
    assert toy.ask("engine-1.0/b", "one").result() == (LEFT,), "a question that comes too late begins nothing"


def test_an_episode_whose_callers_are_cancelled_gets_no_world() -> None:
    toy = Toy(1)
    toy.ask("a", "one")
    toy.ask("b", "one").cancel()
    wanted = toy.ask("c", "one")
    toy.answer(1, END)
    toy.answer(2, END)
    assert wanted.result() == (END,)
    assert not toy.register.live


def test_episodes_that_are_over_are_forgotten_in_the_end() -> None:
    toy = Toy(1)
    for number in range(MOST_PAST + 10):
        toy.ask(str(number), "one")
        toy.answer(number + 1, END)
    assert len(toy.register._past) == MOST_PAST
    assert not toy.register.live


@dataclass
class Player:
    """An episode as an engine plays it: it asks, waits, has the model speak, and asks again."""

    name: str
    turns: int  # the environment ends it after so many; more than `most`, the engine is out of turns
    most: int
    said: list[Heard] = field(default_factory=list)
    waits: Future[Results] | None = None
    over: bool = False

    @property
    def can_go_on(self) -> bool:
        return not self.over and (self.waits is None or self.waits.done())

    @property
    def is_out_of_turns(self) -> bool:
        return self.can_go_on and len(self.said) == self.most

    def step(self, toy: Toy) -> None:
        """The engine goes on with it."""
        last = self.waits.result()[-1] if self.waits is not None else words("")
        if isinstance(last, Verdict) or last.ends:
            self.over = True
            return
        self.said.append(None if self.is_out_of_turns else f"turn {len(self.said)}")
        self.waits = toy.ask(self.name, *self.said)


Groups = list[tuple[int, list[tuple[int, int]]]]  # engine, and of each member: turns of its world, turns it may have
GROUPS = st.lists(
    st.tuples(st.integers(1, 3), st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=4)), max_size=5
)


def play(draw: Random, most: int, groups: Groups, *, scores_wait: bool = False) -> Toy:
    """Engines play groups one after the other; worlds answer, die, and episodes are left, in an order that is drawn.

    scores_wait: the score of an episode out of turns is only asked for when nobody of its group speaks any more.
    """
    toy = Toy(most)
    engines: dict[int, list[list[Player]]] = {}
    for number, (engine, members) in enumerate(groups):
        named = [Player(f"engine-{engine}/{number}-{member}", *limits) for member, limits in enumerate(members)]
        engines.setdefault(engine, []).append(named)
    everyone = {player.name: player for waiting in engines.values() for group in waiting for player in group}
    while not all(player.over for player in everyone.values()):
        moves: list[Player | int] = [*toy.busy]
        for waiting in engines.values():  # an engine begins a group when the one before it is over
            group = next((group for group in waiting if not all(player.over for player in group)), [])
            speak = any(not player.over and not player.is_out_of_turns for player in group)
            moves += [player for player in group if player.can_go_on and not (scores_wait and speak and player.is_out_of_turns)]
        if not moves:
            raise RuntimeError("somebody waits, and nothing will ever happen")
        chosen = draw.choice(moves)
        if isinstance(chosen, Player):
            if chosen.said and draw.random() < 0.1:
                toy.leave(chosen.name)
                chosen.over = True
            else:
                chosen.step(toy)
        else:
            episode = toy.busy[chosen]
            player = everyone[episode.name]
            ends = episode.heard[-1] is None or len(episode.heard) >= player.turns
            toy.answer(chosen, DIED if draw.random() < 0.1 else END if ends else words("go on"))
        assert toy.register.worlds == len(toy.busy) + len(toy.idle) <= most
    return toy


@settings(max_examples=100)
@given(st.integers(), st.integers(1, 4), GROUPS)
def test_no_order_of_events_leaves_anybody_waiting(seed: int, most: int, groups: Groups) -> None:
    toy = play(Random(seed), most, groups)
    assert toy.register.worlds == 0
    assert not toy.register.live
    assert not toy.register.queue


def test_scores_that_wait_for_the_whole_group_would_wait_for_ever() -> None:
    """So a checker that asks for `group` is refused beside a held environment."""
    with pytest.raises(RuntimeError, match="nothing will ever happen"):  # noqa: PT012
        for seed in range(20):
            play(Random(seed), 1, [(1, [(4, 1), (4, 1)])], scores_wait=True)
