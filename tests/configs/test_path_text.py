"""Keys of `[run]` that name a folder."""

from pathlib import Path

import pytest

from tests.configs.test_configs import config_with, refusal


@pytest.mark.parametrize("key", ["run.dir", "run.resume", "run.from"])
@pytest.mark.parametrize("given", ['""', '" "', r'"a\u0000b"'])
def test_a_text_that_names_nothing_is_refused_where_a_path_is_needed(key: str, given: str) -> None:
    (said,) = refusal(f"{key}={given}")
    assert f"{key}: got {given}; needed a string in quotes, not empty" in said


def test_a_run_dir_may_be_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert config_with("run.dir=~/runs/a").run_dir == Path("/home/me/runs/a")
