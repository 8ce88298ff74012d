"""Tools in real workers: what is an observation, what is a failure, and what is refused before a run."""

# ruff: noqa: E501  (a case stands on one line)

import asyncio
import json
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from configs.schema import Config
from reward.asked import Asked
from reward.code_limits import code_limits
from reward.episodes.transcript import Past, Transcript
from reward.scorer import Scorer
from reward.tools.describe import tool_schemas
from reward.tools.pooled import with_name
from reward.tools.tools import Tools
from reward.tools.warm import warm_tools
from reward.workers.pool import Item, RewardPool
from rollout.transcript.episode import Answer, Turn
from rollout.types import Outcome, Verdict

pytestmark = [pytest.mark.timeout(120), pytest.mark.end_to_end]

TOYS = '''
import asyncio, os, time

def add(a: int, b: int) -> int:
    """Add two numbers.

    Args:
        a: the first
        b: the second
    """
    if a == 13:
        raise ValueError("13 is unlucky")
    return a + b

async def later(what: str):
    """Give something back.

    Args:
        what: which kind of thing
    """
    await asyncio.sleep(0)
    return {"none": None, "text": "ü\\ud800", "dict": {"a": [1, 2.5, "ü"]}, "tuple": (1, None), "true": True, "bytes": b"x",
            "long": "x" * 10**6, "float": 0.5, "list": []}[what]

def broken(how: str) -> str:
    """Break.

    Args:
        how: in which way
    """
    if how == "die":
        os._exit(1)
    if how == "sleep":
        time.sleep(60)
    if how == "memory":
        return str(len(bytes(10**11)))
    if how == "exit":
        raise SystemExit(1)
    if how == "text":
        raise ValueError
    return {}[how]
'''


def config(**tools: Any) -> Config:
    tables = {"model": {"path": "m"}, "data": {"train": "t"}, "tools": tools}
    return Config.model_validate(tables | {"reward": {"timeout_s": 4.0}, "code": {"timeout_s": 0.4, "output_kb": 64}})


class Played:
    """Tools on one event loop, for many tests."""

    def __init__(self, config: Config) -> None:
        self.loop = asyncio.new_event_loop()
        warm = warm_tools(config)
        self.pool = RewardPool(workers=1, timeout_s=4.0, memory_mb=4096, warm=warm, limits=code_limits(config))
        self.tools = Tools(config, self.pool)
        self.run(self.tools.ready())

    def run(self, waited: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(waited)

    def answer(self, said: str, **fields: Any) -> Answer | None:
        turns = (*fields.pop("before", ()), Turn(said=said))
        found: Answer | None = self.run(
            self.tools.answer(Asked(checker="exact", response=said, reference="", tokens=1, turns=turns, **fields))
        )
        return found

    def words(self, *calls: tuple[str, dict[str, Any]]) -> str:
        answer = self.answer("".join(call(*one) for one in calls))
        assert answer is not None
        assert answer.words is not None, answer.failure
        return answer.words.removeprefix("<tool_response>\n").removesuffix("\n</tool_response>")


def call(name: str, arguments: dict[str, Any]) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    file = tmp_path_factory.mktemp("tools") / "toys.py"
    file.write_text(TOYS)
    made = Played(config(use=["python", *(f"{file}:{name}" for name in ("add", "later", "broken"))], max_calls=3))
    yield made
    made.run(made.tools.close())
    made.pool.close()
    made.loop.close()


def test_a_turn_without_a_call_is_nobodys(played: Played) -> None:
    assert played.answer("4") is None
    assert played.answer(f"<think>{call('add', {'a': 1, 'b': 2})}</think>4") is None
    assert played.answer(call("add", {"a": 1, "b": 2}), prompt="Add. <think>\n") is None
    prefilled = {"prompt": "Add.<think>", "prefill": "<think>"}  # it begins every turn
    for before in ((), (Turn(said="x"),)):
        assert played.answer(call("add", {"a": 1, "b": 2}), **prefilled, before=before) is None
        assert played.answer(f"</think>{call('add', {'a': 1, 'b': 2})}", **prefilled, before=before) is not None


def test_results_come_in_the_order_of_the_calls(played: Played) -> None:
    answer = played.answer(f"I add.{call('add', {'a': 1, 'b': 2})}{call('add', {'a': 3})}{call('python', {'code': '6 * 7'})}")
    assert answer is not None
    assert answer.words == (
        "<tool_response>\n3\n</tool_response>\n<tool_response>\nerror: add: the argument 'b' is missing\n</tool_response>\n"
        "<tool_response>\n42\n</tool_response>"
    )
    assert (answer.tool_calls, answer.tool_errors, answer.failure, answer.role) == (3, 1, None, "")


@pytest.mark.parametrize(
    ("what", "text"),
    [("none", ""), ("text", "ü?"), ("dict", '{"a": [1, 2.5, "ü"]}'), ("tuple", "[1, null]"), ("true", "true"), ("float", "0.5"), ("list", "[]")],
)  # fmt: skip
def test_a_result_that_is_no_text_is_json(played: Played, what: str, text: str) -> None:
    assert played.words(("later", {"what": what})) == text


def test_a_result_of_a_million_characters_is_cut(played: Played) -> None:
    answer = played.answer(call("later", {"what": "long"}))
    assert answer is not None
    assert answer.cut
    assert answer.words is not None
    assert len(answer.words) < 100_000


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("add", {"a": 13, "b": 1}, "error: 13 is unlucky"),
        ("broken", {"how": "text"}, "error: ValueError"),
        ("add", {"a": "1", "b": 1}, "error: add: the argument 'a' must be a whole number, got \"1\""),
        ("ad", {}, "error: there is no tool \"ad\": the tools are python, add, later, broken; did you mean 'add'?"),
        ("os.system", {}, 'error: there is no tool "os.system"'),
        ("python", {"code": 1}, "must be a text"),
    ],
)
def test_what_the_model_causes_is_an_observation(played: Played, name: str, arguments: dict[str, Any], said: str) -> None:
    assert said in played.words((name, arguments))


def test_a_call_that_cannot_be_read_and_one_too_many_are_observations(played: Played) -> None:
    assert "this call cannot be read: the JSON is not complete" in str(played.answer('<tool_call>{"name": "add"'))
    many = played.words(*[("add", {"a": 1, "b": 1})] * 4)
    assert many.count("\n2\n") + many.startswith("2\n") == 3
    assert many.endswith("error: not run: a turn may make at most 3 calls")


@pytest.mark.parametrize(
    ("name", "arguments", "outcome", "why"),
    [
        ("broken", {"how": "a bug"}, Outcome.UNSCORABLE, "KeyError: 'a bug'"),
        ("broken", {"how": "exit"}, Outcome.UNSCORABLE, "SystemExit"),
        ("broken", {"how": "die"}, Outcome.CRASHED, ":broken': the worker"),
        ("broken", {"how": "memory"}, Outcome.CRASHED, ":broken': it needs more than memory_mb="),
        ("later", {"what": "bytes"}, Outcome.UNSCORABLE, "it returned bytes, needed a text or a JSON value"),
    ],
)
def test_what_the_machine_causes_is_a_failure(played: Played, name: str, arguments: dict[str, Any], outcome: Outcome, why: str) -> None:
    answer = played.answer(call("add", {"a": 1, "b": 1}) + call(name, arguments))
    assert answer is not None
    assert answer.failure is not None
    assert (answer.words, answer.failure.reward, answer.failure.outcome) == (None, None, outcome)
    assert why in str(answer.failure.failure)
    assert played.words(("add", {"a": 2, "b": 2})) == "4"


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("6 * 7", "42"),
        ("print('a')\n'b'", "a\n'b'"),
        ("x = 1", "(no output)"),
        ("None", "(no output)"),
        ("```python\n6 * 7\n```", "42"),
        ("import sys; sys.exit()", "(no output)"),
        ("import sys; sys.exit(3)", "error: it ended with exit status 3"),
        ("def f():\n    return 1 / 0\nf()", "Traceback:\n  line 3, in <module>\n    f()\n  line 2, in f\n    return 1 / 0\n           ~~^~~\nZeroDivisionError: division by zero"),
        ("import json\njson.loads('x')", "Traceback:\n  line 2, in <module>\n    json.loads('x')\njson.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
        ("x = (", "SyntaxError: '(' was never closed"),
        ("print('ü')\n\ud800", "surrogates not allowed"),
        ("print('begun')\nwhile True: pass", "error: it was ended after 0.4 s"),
        ("while True: print('x' * 1000)", "error: it was ended, because it printed more than 64 kB"),
        ("x = [0] * 10 ** 11", "MemoryError"),
        ("input()", "EOFError"),
        ("print('x' * 5000)\n1 / 0", "xxx\n[…]\nxxx"),
        ("import socket\nsocket.socket().connect(('127.0.0.1', 80))", "Error"),
        ("open('/etc/passwd')", "Error"),
        ("from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\nA()", "A(x=1)"),
    ],
)  # fmt: skip
def test_python_shows_what_a_notebook_shows(played: Played, code: str, shown: str) -> None:
    words = played.words(("python", {"code": code}))
    assert shown in words
    assert "reward/" not in words
    assert len(words) < 70_000


def test_a_program_keeps_nothing_for_the_next_one(played: Played) -> None:
    played.words(("python", {"code": "x = 1\nopen('note', 'w').write('x')"}))
    assert "NameError" in played.words(("python", {"code": "x"}))
    assert "FileNotFoundError" in played.words(("python", {"code": "open('note')"}))


def test_schemas_are_known_without_importing_the_users_code_here(tmp_path: Path) -> None:
    file = tmp_path / "toys_of_schemas.py"
    file.write_text(TOYS)
    schemas = tool_schemas(config(use=[f"{file}:add", "python"]))
    assert [one["function"]["name"] for one in schemas] == ["add", "python"]
    assert tool_schemas(config()) == []


def test_two_tools_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.py").write_text(TOYS)
    with pytest.raises(ValueError, match="both have a tool 'add'"):
        tool_schemas(config(use=[f"{tmp_path}/one.py:add", f"{tmp_path}/two.py:add"]))


def test_a_scorer_asks_the_tools_first_and_ends_sessions_with_the_score() -> None:
    async def episode() -> tuple[str, str, Any, list[Any], Verdict]:
        async with Scorer(config(use=["python_session"])) as scorer:
            assert scorer.wants.talks("exact")
            assert scorer.wants.slow("exact")
            texts = [call("python_session", {"code": code}) for code in ("x = 41", "x + 1")] + ["42"]
            turns: tuple[Turn, ...] = ()
            answers = []
            for text in texts:
                asked = Asked(checker="exact", response=text, reference="42", tokens=9, turns=(*turns, Turn(said=text)), episode="e/1")
                (answer,) = await scorer.reply([asked])
                turns = (*turns, Turn(said=text, answer=answer))
                answers.append(answer.words)
            (verdict,) = await scorer.score([replace(asked, turns=turns)])
            assert scorer.tools.sessions is not None
            return *answers, [*scorer.tools.sessions._seats], verdict

    first, second, third, seats, verdict = asyncio.run(episode())
    assert [first, second] == [f"<tool_response>\n{text}\n</tool_response>" for text in ("(no output)", "42")]
    assert (third, seats, verdict.reward) == (None, [], 1.0)


def test_other_formats_answer_in_their_own_way(tmp_path: Path) -> None:
    (tmp_path / "toys.py").write_text(TOYS)
    made = Played(config(use=[f"{tmp_path}/toys.py:add"], format="xml"))
    try:
        said = "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\ntwo\n</parameter>\n</function>\n</tool_call>"
        assert "'b' must be a whole number, got \"two\"" in made.answer(said).words  # type: ignore[union-attr, operator]
        assert "\n3\n" in made.answer(said.replace("two", "2")).words  # type: ignore[union-attr, operator]
    finally:
        made.pool.close()
        made.loop.close()


def test_the_time_that_a_call_or_a_turn_took_is_not_called_scoring() -> None:
    turn = Transcript(turns=(Past("a"),))
    items = [Item(checker=name, response="", reference=None, transcript=asked) for name, asked in (("exact", None), ("tool:f", None))]
    items += [Item(checker="m:f", response="", reference=None, transcript=asked) for asked in (turn, replace(turn, score=True))]
    assert [item.work for item in items] == ["score the response", "answer a call", "answer a turn", "score the response"]
    assert with_name("m:f", "timeout: more than 5 s to answer a call") == "timeout: tool 'm:f': more than 5 s to answer a call"
    assert with_name("m:f", "error: tool 'm:f': KeyError: 'x'") == "error: tool 'm:f': KeyError: 'x'"
