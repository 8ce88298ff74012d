"""One source or several: what `[data]` accepts, and what it answers to the rest."""

from pathlib import Path

import pytest

from configs.loader import ConfigError, dump, load
from configs.schema import Config

TWO = """
[model]
path = "m"
[data.sources.gsm8k]
path = "gsm8k.jsonl"
share = 0.75
prompt_field = "question"
[data.sources.math-500]
path = "math.parquet"
share = 0.25
checker = "exact"
[data.evals.aime]
path = "aime.jsonl"
responses = 4
"""


def read(folder: Path, text: str, *overrides: str) -> Config:
    path = folder / "run.toml"
    path.write_text(text)
    return load(path, overrides)


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(folder, text, *overrides)
    return caught.value.problems


def test_sources_and_eval_sets_are_read_and_written_back(tmp_path: Path) -> None:
    config = read(tmp_path, TWO, "data.sources.gsm8k.limit=5", "data.evals.more.path=more.jsonl")
    assert config.data.sources["gsm8k"].limit == 5
    assert config.data.evals["more"].split == "test"
    assert config.data.own_checkers == ["exact"]
    assert read(tmp_path, dump(config)) == config


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.train=t.jsonl", 'data.train: got "t.jsonl" beside [data.sources.gsm8k]: remove it, or make it a source of its own'),
        ("data.split=dev", 'data.split: got "dev" with [data.sources.NAME], so it has no effect: set the split of each source'),
        ("data.sources.third.path=x", "data.sources.third.share: missing, but other sources have a share"),
        (
            "data.sources.gsm8k.share=1e300",
            "data.sources.math-500.share: got 0.25 beside a share of 1e+300, needed at least a part in 1e+09",
        ),
        ("data.sources.gsm8k.share=1e-300", "data.sources.gsm8k.share: got 1e-300 beside a share of 0.25"),
        ("data.sources.gsm8k.share=0", "data.sources.gsm8k.share: got 0; needed a number, above 0"),
        ("data.sources.gsm8k.pth=x", 'data.sources.gsm8k.pth: unknown key (got "x"); did you mean path?'),
        ("data.evals.aime.limit=0", "data.evals.aime.limit: got 0; needed a whole number, at least 1"),
        ("data.evals.aime.answer_turn=drop", 'data.evals.aime.answer_turn: got "drop"; needed one of "refuse", "cut"'),
        ("data.evals.b.split=x", "data.evals.b.path: missing; needed a string in quotes (file, folder"),
        ("data.chat_template=false data.sources.gsm8k.system=x", 'data.sources.gsm8k.system: got "x" with data.chat_template = false'),
    ],
)
def test_what_cannot_be_is_refused_with_its_key(tmp_path: Path, override: str, said: str) -> None:
    (line,) = problems(tmp_path, TWO, *override.split())
    assert said in line


def test_a_name_that_no_metric_can_have_is_refused(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, TWO.replace("[data.evals.aime]", '[data.evals."a/b"]'))
    assert 'data.evals: got the name "a/b", needed letters, digits, _ and -' in line


def test_neither_train_nor_sources_is_answered_with_both(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, '[model]\npath = "m"\n')
    assert "data.train: missing; needed the training prompts (a file, a folder" in line
    assert "[data.sources.NAME]" in line


def test_shares_may_be_left_out_everywhere(tmp_path: Path) -> None:
    text = TWO.replace("share = 0.75\n", "").replace("share = 0.25\n", "")
    assert all(source.share is None for source in read(tmp_path, text).data.sources.values())


def test_a_second_checker_may_be_the_first_one_where_a_source_has_its_own(tmp_path: Path) -> None:
    assert read(tmp_path, TWO, "reward.second=math").reward.second == "math"


def test_a_service_that_only_a_source_uses_needs_its_address(tmp_path: Path) -> None:
    (line,) = problems(tmp_path, TWO, "data.sources.gsm8k.checker=http")
    assert 'http.url: missing, but data.sources.gsm8k.checker asks the checker "http"' in line
