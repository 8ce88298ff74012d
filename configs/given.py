"""A config from what Python code gives: a file, the name of a shipped recipe, a table or a `Config`, and overrides."""

from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from configs.errors import ConfigError
from configs.home import expanded
from configs.loader import check_table, is_overridden, read_table
from configs.overrides import merge_overrides, merge_value
from configs.schema import Config
from configs.tables import Table

Given = Config | Mapping[str, Any] | str | PathLike[str]
Overrides = Sequence[str] | Mapping[str, Any]
RECIPES = Path(__file__).parent


def configured(given: Given, overrides: Overrides | None = None) -> Config:
    """The checked config. A ConfigError lists all problems.

    `given` is a TOML file, a shipped recipe such as "tiny_cpu", a run's folder, a table or a Config. Keys of a table may be nested
    ({"run": {"steps": 5}}) or dotted ({"run.steps": 5}). `overrides` are such a table or "key=value" strings in TOML syntax.
    """
    if isinstance(given, Config) and not overrides:
        return given
    table, name = read(given)
    faults, keys = merge(table, overrides or {})
    config, problems = check_table(table)
    places = ("overrides" if is_overridden(problem, keys) else name for problem in problems)
    lines = [*faults, *(f"{place}: {problem.keys[0]}: {problem.message}" for place, problem in zip(places, problems, strict=True))]
    if lines or config is None:
        raise ConfigError(lines)
    return config


def read(given: Given) -> tuple[Table, str]:
    """The table that was given, and what a message calls it."""
    if isinstance(given, Config):
        return given.model_dump(exclude_unset=True), "config"
    if isinstance(given, Mapping):
        table: Table = {}
        if faults := merge(table, given, "config")[0]:
            raise ConfigError(faults)
        return table, "config"
    if not isinstance(given, str | PathLike):
        raise ConfigError([f"config: got a {type(given).__name__}: give a TOML file, a shipped recipe's name, a table or a Config"])
    path = find(given)
    return read_table(path), str(path)


def find(given: str | PathLike[str]) -> Path:
    """The file of a path, of a run's folder, or of a shipped recipe's name."""
    path = expanded(given)
    if path.is_dir() and (path / "config.toml").is_file():
        return path / "config.toml"
    recipe = (RECIPES / path.name).with_suffix(".toml")
    named = path.name == str(path) and (not path.suffix or recipe.is_file())
    return recipe if named and not path.exists() else path


def merge(table: Table, given: Overrides, name: str = "overrides") -> tuple[list[str], set[str]]:
    """Merge overrides into the table in place; returns a line for each invalid one, and the dotted keys that were set."""
    if isinstance(given, str):
        return [f'{name}: got the text "{given}": give a list of "key=value" texts, or a table'], set()
    if not isinstance(given, Mapping):
        keys, faults = merge_overrides(table, given)
        return [fault.replace("command line", name, 1) for fault in faults], keys
    faults, keys = [], set()
    for path, value in leaves(given):
        if not all(isinstance(part, str) and part for part in path):
            faults.append(f'{name}: got the key {path[-1]!r}: write keys as text, such as "run.steps"')
            continue
        try:
            merge_value(table, path, plain(value))
            keys.add(".".join(path))
        except ValueError as error:
            faults.append(f"{name}: {'.'.join(path)}: {error}")
    return faults, keys


def leaves(table: Mapping[Any, Any], path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every value of a nested table with its path; a dotted key is a path of its own. An empty table is a value."""
    for key, value in table.items():
        here = (*path, *(key.split(".") if isinstance(key, str) else (key,)))
        if isinstance(value, Mapping) and value:
            yield from leaves(value, here)
        else:
            yield here, value


def plain(value: Any) -> Any:
    """The value as TOML would give it: a path is its text, a tuple a list, a NumPy number one of Python."""
    if isinstance(value, PathLike):
        return str(value)
    if isinstance(value, Real) and not isinstance(value, bool):
        return int(value) if isinstance(value, Integral) else float(value)
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list | tuple) else value
