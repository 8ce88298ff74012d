"""A run directory keeps its resolved config: what version 0.4.0 wrote there must load, unchanged, for ever."""

import tomllib
from pathlib import Path

import pytest

from configs.loader import dump, load

KEPT = sorted((Path(__file__).parents[1] / "golden").glob("config-*.toml"))


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_the_config_of_an_older_run_loads_and_says_the_same(path: Path) -> None:
    older, now = tomllib.loads(path.read_text()), tomllib.loads(dump(load(path)))
    for section, keys in older.items():
        for key, value in keys.items():
            assert now[section][key] == value, f"{section}.{key}"


def test_there_are_older_runs_to_try() -> None:
    assert len(KEPT) >= 3
