"""What `validate`, and every start, says of rows with several turns: their template, their limits, the first of them played."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cluster.commands.checks.episodes.first_row import play_row, sample_result
from cluster.commands.checks.episodes.limits import check_episodes, talking
from configs.errors import DataError
from configs.schema import Config
from rollout.chat.chat import Chat
from rollout.chat.reply_tokens import ReplyTokens
from rollout.chat.stops import stops_of
from rollout.types import Prompt
from tests.toys.templates import CASES, SEARCH, read, tokenizer

pytestmark = pytest.mark.timeout(60)
GAME = "tests.toys.environments:by_halves"


def config(*, chat: bool = True, checker: str = GAME, tools: bool = False, **rollout: Any) -> Config:
    keys = {"rollout": {"max_response_tokens": 512, **rollout}, "data": {"train": "rows.jsonl", "chat_template": chat}}
    used = {"tools": {"use": ["python"]}} if tools else {}
    return Config.model_validate({"model": {"path": "none"}, "reward": {"checker": checker, "timeout_s": 5}, **keys, **used})


def spelling(
    settings: Config, case: str = "qwen3 thinking", stops: tuple[str, ...] = (), schemas: tuple[dict[str, Any], ...] = ()
) -> ReplyTokens:
    found = CASES[case]
    made = tokenizer(read(found.template), stops or found.stops)
    return ReplyTokens(settings, made, [made.get_vocab()[stop] for stop in stops or found.stops], Chat(schemas=schemas))


def row(checker: str = GAME, text: str = "Guess.") -> Prompt:
    return Prompt(
        prompt_id="0", token_ids=np.array([1, 2], np.int32), reference=40, checker=checker, text=text, where="line 1", key="data.train"
    )


def test_only_rows_of_environments_and_of_runs_with_tools_have_several_turns() -> None:
    rows = [row(), row("math")]
    assert talking(config(), rows, [GAME]) == rows[:1]
    assert talking(config(), rows, []) == []
    assert talking(config(tools=True), rows, []) == rows
    assert check_episodes(spelling(config(), "mixtral"), config(reply_role="tool"), []) == []


@pytest.mark.parametrize(
    ("case", "stops", "settings", "message"),
    [
        ("mixtral", (), {"reply_role": "tool"}, r'reply_role: got "tool", but rows of data.train .*: set rollout.reply_role = "user"'),
        ("qwen3 thinking", ("<|endoftext|>",), {}, r'got "user".* engines stop at .*generation_config.json .*: give another template'),
        ("qwen3 thinking", (), {"max_reply_tokens": 20}, r"rollout.max_reply_tokens: got 20, needed at least 25, the tokens of '\[cut\]'"),
        ("qwen3 thinking", (), {"max_response_tokens": 20, "max_reply_tokens": 99}, "rollout.max_response_tokens: got 20, needed at least"),
    ],
)  # fmt: skip
def test_what_leaves_no_way_to_answer_a_turn_is_refused(case: str, stops: tuple[str, ...], settings: dict[str, Any], message: str) -> None:
    settings_of = config(**settings)
    with pytest.raises(DataError, match=message):
        check_episodes(spelling(settings_of, case, stops), settings_of, [row()])


def test_doubtful_limits_and_untold_tools_are_warned_of() -> None:
    fine = config()
    assert check_episodes(spelling(fine), fine, [row()]) == []
    once = config(max_turns=1, max_reply_tokens=511)
    first, second = check_episodes(spelling(once), once, [row()])
    assert first.startswith("rollout.max_turns = 1 ends every episode at the first answer")
    assert second.startswith("rollout.max_reply_tokens (511) leaves the model no turn within rollout.max_response_tokens (512)")
    plain = config(chat=False, tools=True)
    (untold,) = check_episodes(spelling(plain, schemas=(SEARCH,)), plain, [row()])
    assert untold.startswith("tools.use: the prompts do not name search, and with data.chat_template = false nothing else describes tools")
    assert check_episodes(spelling(plain, schemas=(SEARCH,)), plain, [row(text="You may search.")]) == []


def test_the_first_row_is_played_with_its_gold_turns_as_the_model_reads_it() -> None:
    settings = config()
    lines = play_row(settings, row(), spelling(settings))
    assert lines[0] == f"line 1, {GAME}: its gold turns as turns of the model, after 2 tokens of the prompt"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "model sampled '42<|im_end|>'",
        "model is told '\\n<|im_start|>user\\nlower, 5 left<|im_end|>\\n<|im_start|>assistant\\n'",
        "model sampled '40<|im_end|>'",
        "the environment ends the episode",
    ]
    assert lines[-1].endswith("reward 1")
    (told,) = sample_result(row(), spelling(settings))
    assert told.startswith("after a call 'RESULT' is told as '\\n<|im_start|>user\\nRESULT<|im_end|>")


@pytest.mark.parametrize(
    ("files", "settings", "expected"),
    [
        ({"generation_config.json": {"eos_token_id": [5, 6]}}, {}, [5, 6]),
        ({"generation_config.json": {"eos_token_id": 5}}, {}, [5]),
        ({"generation_config.json": {}}, {}, []),
        ({"config.json": {"model_type": "qwen3", "eos_token_id": 7}}, {}, [7]),
        ({"other/generation_config.json": {"eos_token_id": 9}}, {"generation_config": "other"}, [9]),
    ],
)  # fmt: skip
def test_engines_stop_where_the_models_files_say_and_at_the_tokenizers_end(
    tmp_path: Path, files: dict[str, Any], settings: dict[str, str], expected: list[int]
) -> None:
    for name, value in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(json.dumps(value))
    vllm = {key: str(tmp_path / value) for key, value in settings.items()}
    keys = {"model": {"path": str(tmp_path)}, "data": {"train": "t"}, "rollout": {"vllm": vllm}}
    made = tokenizer(None, ["</s>"])
    assert stops_of(Config.model_validate(keys), made) == [*expected, made.eos_token_id]
