import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from rollout.chat.behind import UnfitWords
from rollout.transcript.episode import Answer, Turn
from rollout.turns import Ask, Bounds, Play
from rollout.types import Finish, Outcome, Response, Verdict

EOS = 0
PROMPT = [7, 8, 9]
BOUNDS = Bounds(turns=8, reply=64, response=60, context=63)


class Letters:
    """Spells a word as the numbers of its letters."""

    def of(self, words: str, role: str, last_token: int) -> list[int]:
        if "?" in words:
            raise UnfitWords("the template cannot say it")
        assert last_token == EOS, "words follow a finished turn"
        return [*([50] if role == "tool" else []), *(ord(letter) - 60 for letter in words)]

    def context(self, messages: Sequence[dict[str, Any]]) -> list[int]:
        if not messages:
            raise UnfitWords("it has no messages")
        return [ord(letter) - 60 for message in messages for letter in message["content"]]


class ToyEngine:
    """Says the turns that it is given; a token's log-prob and its expert are functions of its place in the context."""

    def __init__(self, *turns: list[int], versions: Sequence[int] = (0, 1, 2, 3, 4, 5, 6, 7, 8)) -> None:
        self.turns, self.versions = turns, versions
        self.asked: list[Ask] = []

    async def __call__(self, ask: Ask) -> Response:
        self.asked.append(ask)
        said = self.turns[ask.turn][: ask.limit]
        ends = bool(said) and said[-1] == EOS
        read = [*ask.context, *said][:-1]
        version = self.versions[ask.turn]
        return Response(
            token_ids=np.array(said, np.int32),
            logprobs=-np.arange(len(ask.context), len(ask.context) + len(said), dtype=np.float32),
            finish=Finish.STOP if ends else Finish.LENGTH,
            oldest_version=version,
            newest_version=version,
            text="".join(map(str, said)),
            routed_experts=np.array(read, np.uint8)[ask.known :].reshape(-1, 1, 1),
        )


def scripted(*answers: Answer) -> tuple[Callable[[Sequence[Turn]], Any], list[tuple[Turn, ...]]]:
    asked: list[tuple[Turn, ...]] = []

    async def reply(turns: Sequence[Turn]) -> Answer:
        asked.append(tuple(turns))
        return answers[len(asked) - 1]

    return reply, asked


def play(engine: ToyEngine, *answers: Answer, bounds: Bounds = BOUNDS) -> tuple[Response, list[tuple[Turn, ...]]]:
    reply, asked = scripted(*answers)
    return asyncio.run(Play(PROMPT, engine, reply, Letters(), bounds).respond()), asked


THREE = ([1, 2, EOS], [3, EOS], [4, 5, 6, EOS])
WORDS = (Answer(words="AB", seconds=0.5, tool_calls=1), Answer(words="C", role="tool", seconds=0.25, tool_errors=1, tool_calls=2))


def test_an_episode_is_exactly_what_was_fed_and_sampled():
    engine = ToyEngine(*THREE)
    response, asked = play(engine, *WORDS, Answer())
    assert response.token_ids.tolist() == [1, 2, EOS, 5, 6, 3, EOS, 50, 7, 4, 5, 6, EOS]
    assert response.turns is not None
    assert response.turns.tolist() == [[0, 3], [5, 7], [9, 13]]
    assert [list(ask.context) for ask in engine.asked] == [PROMPT, [*PROMPT, 1, 2, EOS, 5, 6], [*PROMPT, 1, 2, EOS, 5, 6, 3, EOS, 50, 7]]
    assert response.logprobs is not None
    assert response.logprobs.tolist() == [-3, -4, -5, 0, 0, -8, -9, 0, 0, -12, -13, -14, -15]
    assert (response.oldest_version, response.newest_version, response.finish, response.text) == (0, 2, Finish.STOP, "4560")
    assert [turn.said for turn in response.transcript] == ["120", "30", "4560"]
    assert [turn.answer for turn in response.transcript] == [*WORDS, Answer()]
    assert [len(turns) for turns in asked] == [1, 2, 3]
    assert asked[1][-1].answer == Answer(), "the newest turn has no answer yet"
    assert (response.tool_calls, response.tool_errors, response.cut_replies, response.environment_s) == (3, 1, 0, 0.75)


def test_every_token_that_was_read_has_one_row_of_experts_in_its_place():
    engine = ToyEngine(*THREE)
    response, _ = play(engine, *WORDS, Answer())
    assert response.routed_experts is not None
    assert response.routed_experts[:, 0, 0].tolist() == [*PROMPT, *response.token_ids.tolist()][:-1]
    assert [ask.known for ask in engine.asked] == [0, 5, 9], "rows begin with the last token of the turn before, which nobody had read"


def test_a_rewritten_context_begins_a_segment_of_its_own():
    engine = ToyEngine(*THREE)
    response, _ = play(engine, WORDS[0], Answer(rewritten=({"role": "user", "content": "XY"},)), Answer())
    assert response.token_ids.tolist() == [1, 2, EOS, 5, 6, 3, EOS]
    (later,) = response.later
    assert (later.prompt_ids.tolist(), later.token_ids.tolist(), later.turns) == ([28, 29], [4, 5, 6, EOS], None)
    assert later.logprobs is not None
    assert later.routed_experts is not None
    assert later.logprobs.tolist() == [-2, -3, -4, -5]
    assert later.routed_experts[:, 0, 0].tolist() == [28, 29, 4, 5, 6]
    assert (later.oldest_version, response.oldest_version, response.newest_version, response.text) == (2, 0, 2, "4560")
    assert len(response.transcript) == 3


def test_one_turn_without_an_answer_is_the_response_of_a_plain_checker():
    response, asked = play(ToyEngine([1, EOS]), Answer())
    assert (response.turns, response.transcript, response.later, response.finish) == (None, (), (), Finish.STOP)
    assert len(asked) == 1


def test_an_episode_that_broke_keeps_its_failure():
    broken = Verdict.failed(Outcome.UNSCORABLE, "it raised")
    response, _ = play(ToyEngine(*THREE), WORDS[0], Answer(failure=broken))
    assert response.transcript[-1].answer.failure == broken
    alone, _ = play(ToyEngine(*THREE), Answer(failure=broken))
    assert [turn.answer.failure for turn in alone.transcript] == [broken]


@pytest.mark.parametrize(("answer", "why"), [(Answer(words="?"), "cannot say it"), (Answer(rewritten=()), "no messages")])
def test_an_answer_that_cannot_be_tokens_breaks_its_episode_and_nothing_else(answer: Answer, why: str):
    response, _ = play(ToyEngine(*THREE), WORDS[0], answer)
    failure = response.transcript[-1].answer.failure
    assert failure is not None
    assert (failure.reward, failure.outcome) == (None, Outcome.UNSCORABLE)
    assert why in str(failure.failure)
    assert response.token_ids.tolist() == [1, 2, EOS, 5, 6, 3, EOS]


CUT_OFF = {
    "a turn that ends for lack of room": (THREE, {"response": 6}, [1, 2, EOS, 5, 6, 3], 1),
    "words without room for a turn after them": (THREE, {"response": 5}, [1, 2, EOS], 1),
    "words that overfill the context": (THREE, {"context": 8}, [1, 2, EOS], 1),
    "a room of one token": (THREE, {"response": 1}, [1], 0),
    "out of turns": (THREE, {"turns": 2}, [1, 2, EOS, 5, 6, 3, EOS], 2),
    "out of turns at once": (THREE, {"turns": 1}, [1, 2, EOS], 1),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_an_episode_that_cannot_go_on_is_truncated_after_a_sampled_token(name: str):
    turns, changed, tokens, questions = CUT_OFF[name]
    bounds = Bounds(**{key: changed.get(key, getattr(BOUNDS, key)) for key in ("turns", "reply", "response", "context")})
    response, asked = play(ToyEngine(*turns), *WORDS, Answer(), bounds=bounds)
    assert (response.token_ids.tolist(), response.finish, len(asked)) == (tokens, Finish.LENGTH, questions)
    assert all(turn.answer.words is None for turn in response.transcript[-1:]), "words that nobody read are not recorded"
    assert len(response.token_ids) <= bounds.response


def test_an_episode_that_ends_with_its_last_turn_is_whole():
    bounds = Bounds(turns=2, reply=64, response=60, context=63)
    response, asked = play(ToyEngine(*THREE), WORDS[0], Answer(), bounds=bounds)
    assert (response.finish, len(asked)) == (Finish.STOP, 2)


@pytest.mark.parametrize(("context", "segments"), [(8, 0), (28, 1)])
def test_a_rewritten_context_needs_room_for_a_turn(context: int, segments: int):
    long = Answer(rewritten=({"role": "user", "content": "X" * 27},))
    response, _ = play(ToyEngine(*THREE), long, Answer(), bounds=Bounds(turns=8, reply=64, response=60, context=context))
    assert (len(response.later), response.finish) == (segments, Finish.LENGTH)


def test_tokens_of_all_segments_count_against_the_longest_response():
    again = Answer(rewritten=({"role": "user", "content": "XY"},))
    response, _ = play(ToyEngine(*THREE), again, again, Answer(), bounds=Bounds(turns=8, reply=64, response=7, context=63))
    assert [len(segment.token_ids) for segment in response.later] == [2, 2]
    assert response.finish is Finish.LENGTH


def test_an_engine_without_log_probs_and_experts_gives_none():
    class Plain(ToyEngine):
        async def __call__(self, ask: Ask) -> Response:
            made = await super().__call__(ask)
            return Response(
                token_ids=made.token_ids, logprobs=None, finish=made.finish, oldest_version=0, newest_version=0, text=made.text
            )  # fmt: skip

    response, _ = play(Plain(*THREE), *WORDS, Answer())
    assert (response.logprobs, response.routed_experts) == (None, None)


def test_long_words_are_cut_where_the_model_reads_them_and_in_the_transcript():
    response, asked = play(ToyEngine(*THREE), Answer(words="A" * 40), Answer(), bounds=Bounds(turns=8, reply=9, response=60, context=63))
    assert response.transcript[0].answer.words == "AAAA[cut]"
    assert response.transcript[0].answer.cut
    assert response.cut_replies == 1
    assert len(response.token_ids) == 3 + 9 + 2
    assert asked[1][0].answer.words == "AAAA[cut]"
