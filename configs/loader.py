"""Reads a config file into a checked `Config` and writes one back. All problems of a file are reported at once, one on each line."""

import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from pydantic import ValidationError

from configs.errors import ConfigError
from configs.overrides import merge_overrides
from configs.rules.common import Problem, RuleError
from configs.schema import Config
from configs.section import LARGEST
from configs.suggest import describe_need, describe_value, flatten_type, inner_keys, known_keys, suggest_key
from configs.tables import Table
from configs.toml_writer import shown, write_toml
from configs.translate import describe_foreign, translate_misspelt

DEPTH = 2  # section and key
OTHER_FORMATS = (".yaml", ".yml", ".json", ".jsonl", ".parquet", ".py", ".sh")


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a TOML file with `key.path=value` overrides applied. Raises a ConfigError that lists all problems."""
    table = read_table(Path(path))
    overridden, faults = merge_overrides(table, overrides)
    config, problems = check_table(table)
    lines = [*faults, *(f"{locate(problem, Path(path), overridden)}: {problem.keys[0]}: {problem.message}" for problem in problems)]
    if lines or config is None:
        raise ConfigError(lines)
    return config


def dump(config: Config) -> str:
    """The resolved config as TOML, which `load` reads back to an equal Config."""
    return write_toml(config.model_dump())


def locate(problem: Problem, path: Path, overridden: set[str]) -> str:
    """Where to change it: the command line if the value came from there, else the file."""
    return "command line" if is_overridden(problem, overridden) else str(path)


def is_overridden(problem: Problem, overridden: set[str]) -> bool:
    """Whether one of a problem's keys, or a table around or below it, was set by an override."""
    return any(key == name or key.startswith(f"{name}.") or name.startswith(f"{key}.") for key in problem.keys for name in overridden)


def read_table(path: Path) -> Table:
    """The file as TOML; a ConfigError says why it cannot be read."""
    if path.suffix.lower() in OTHER_FORMATS:
        raise ConfigError([describe_other_format(path)])
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError([describe_missing_file(path)]) from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: byte {error.start} is not UTF-8, which TOML needs: save the file as UTF-8"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error.strerror}): give a readable TOML file"]) from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([describe_syntax(path, text, str(error))]) from None


def describe_other_format(path: Path) -> str:
    """A run of another framework, or data, in place of a run."""
    folder = Path(__file__).parent
    recipes = ", ".join(sorted(recipe.name for recipe in folder.glob("*.toml")))
    return (
        f"{path}: got a {path.suffix} file, but a run is a TOML file: copy a recipe of {folder} ({recipes}) and set its keys; "
        "keys of another framework are answered with ours"
    )


def describe_missing_file(path: Path) -> str:
    folder = path.parent if any(path.parent.glob("*.toml")) else Path(__file__).parent
    recipes = sorted(recipe.name for recipe in folder.glob("*.toml"))
    near = get_close_matches(path.name, recipes, 1)
    guess = f" (did you mean {folder / near[0]}?)" if near else ""
    where = "" if path.is_absolute() else f" (looked for {path.absolute()})"
    return f"{path}: no such file{guess}{where}; {folder} has {', '.join(recipes)}"


def describe_syntax(path: Path, text: str, complaint: str) -> str:
    lines = text.splitlines() or [""]
    found = re.search(r"at line (\d+)", complaint)
    number = int(found[1]) if found else len(lines)
    return f"{path}:{number}: not TOML: {complaint}: correct the line `{lines[min(number, len(lines)) - 1].strip()}`"


def check_table(table: Table) -> tuple[Config | None, list[Problem]]:
    """The config, or None and all problems: those of single keys, and broken rules between keys that are valid by themselves."""
    for section in known_keys():
        table.setdefault(section, {})  # so that a missing section is reported as its missing keys
    try:
        return Config.model_validate(table), []
    except ValidationError as error:
        if problems := broken_rules(error):
            return None, problems
        problems = describe_errors(error, table)
    broken = {key for problem in problems for key in problem.keys}
    try:
        Config.model_validate(keep_sound(table, broken))
    except ValidationError as error:
        problems += [problem for problem in broken_rules(error) if broken.isdisjoint(problem.keys)]
    return None, problems


def keep_sound(table: Table, broken: set[str]) -> Table:
    """The table without its broken keys, so that a misspelt key does not hide a broken rule between other keys."""
    sound: Table = {"model": {"path": ""}, "data": {}}
    for section, leaves in known_keys().items():
        if isinstance(keys := table[section], dict):
            kept = {leaf: value for leaf, value in keys.items() if leaf in leaves and f"{section}.{leaf}" not in broken}
            sound[section] = {**sound.get(section, {}), **kept}
    return sound


def broken_rules(error: ValidationError) -> list[Problem]:
    causes = [detail.get("ctx", {}).get("error") for detail in error.errors(include_url=False)]
    return [problem for cause in causes if isinstance(cause, RuleError) for problem in cause.problems]


def describe_errors(error: ValidationError, table: Table) -> list[Problem]:
    """Pydantic's errors in this project's words, one for each key."""
    problems: dict[str, Problem] = {}
    for detail in error.errors(include_url=False):
        where = [str(part) for part in detail["loc"][: 2 * DEPTH]]  # deeper parts name the member of a union
        key = ".".join(where[:DEPTH])
        if "table" in known_keys().get(where[0], {}).get(".".join(where[1:DEPTH]), {}):
            del where[DEPTH : DEPTH + 1]  # the name of the union's member, which no user has written
        if detail["type"] == "extra_forbidden" and (foreign := describe_foreign(where, detail["input"])):
            problems |= foreign
        elif len(where) > DEPTH and inner_keys(*where[:DEPTH]):
            problems.setdefault(".".join(where), describe_inner(where, detail["type"], detail["input"]))
        else:
            kind = detail["type"] if len(where) <= DEPTH else "type"  # a deeper error is about a part of the key's value
            problems.setdefault(key, describe_error(key, kind, table))
    return list(problems.values())


def describe_error(key: str, kind: str, table: Table) -> Problem:
    """What a key was given, what it needs, and the key that was probably meant."""
    section, _, leaf = key.partition(".")
    given = shown(key, table[section].get(leaf) if leaf else table.get(section))
    if kind == "extra_forbidden":
        meant = suggest_key(key)
        known = ", ".join(known_keys().get(section, known_keys()))
        advice = f"did you mean {meant}?" if meant else translate_misspelt(leaf) or f"remove it or use one of {known}"
        return Problem((key, meant or key), f"unknown key (got {given}); {advice}")
    if kind == "missing":
        return Problem((key,), f"missing; needed {describe_need(key)}")
    if is_huge(table[section].get(leaf) if leaf else None):
        return Problem((key,), f"got {given}; needed a number of at most 64 bits")
    return Problem((key,), f"got {given}; needed {describe_need(key)}")


def is_huge(value: object) -> bool:
    """Whether a value is a whole number, or a list with one, that no number of 64 bits can hold."""
    return any(map(is_huge, value)) if isinstance(value, list) else isinstance(value, int) and abs(value) > LARGEST


def describe_inner(where: Sequence[str], kind: str, value: object) -> Problem:
    """The same for a key of a table below a key: where is [section, key, name of the table, key in it]."""
    section, leaf, name, *inner = where
    table, known, given = f"{section}.{leaf}.{name}", inner_keys(section, leaf), shown(where[-1], value)
    keys = (".".join(where), f"{section}.{leaf}")
    if not inner:
        return Problem(keys, f"got {given}; needed {describe_value(table, '', {'type': 'object'})}")
    if inner[0] not in known:
        near = get_close_matches(inner[0], known, 1)
        return Problem(keys, f"unknown key (got {given}); {f'did you mean {near[0]}?' if near else 'use one of ' + ', '.join(known)}")
    got = "missing" if kind == "missing" else f"got {given}"
    return Problem(keys, f"{got}; needed {describe_value(table, inner[0], flatten_type(known[inner[0]]))}")
