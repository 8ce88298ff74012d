"""The responses of a run as the page's script reads them.

columns   a number or a short text of every response: all that filters and the list need
chunks    the whole responses, some of them in each, fetched when one is opened or searched
tokens    the numbers of tokens, one block a capsule
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cluster.report.files import RunFiles
from cluster.report.lines import Row, number
from cluster.report.responses.pieces import pieces_of, tokenizer_of
from cluster.report.responses.rows import Kept, keep, name_of
from cluster.report.responses.shading import MOST_OF_A_ROW, MOST_TOKENS, rows_within, shades_of
from cluster.report.responses.shorten import BUDGET, shortened
from configs.errors import InputError
from configs.given import configured
from configs.home import expanded
from configs.surrogates import Surrogate

START = 90  # characters of a prompt and of a response in the list
CHUNK = 400_000  # characters of texts that are fetched together
OF_THE_LIST = ("step", "group", "member", "advantage", "reward", "outcome", "finish")


@dataclass(slots=True, kw_only=True)
class Table:
    """The responses of one run."""

    data: dict[str, Any]  # for the page at once
    more: dict[str, Any] = field(default_factory=dict)  # by the names that `data` has


def table_of(run: RunFiles, place: int, share: float = 1.0) -> Table:
    """The table of one run, the `place`-th of the report, whose texts may take this share of the report's budget."""
    kept = keep(run)
    rows, limit = shortened([row for _, row in kept.rows], int(BUDGET * share))
    if limit is not None:
        kept.notes.append(f"Texts of more than {limit:,} characters have lost their middle here. They are whole in responses/.")
    table = Table(data={"name": run.name, "notes": kept.notes})
    chunks = list(chunked(rows))
    table.more |= {f"{place}-texts-{number}": chunk for number, chunk in enumerate(chunks)}
    table.data["chunks"] = [len(chunk) for chunk in chunks]
    table.data |= columns(kept)
    table.data["tokens"] = add_tokens(table, run, kept, place, int(MOST_TOKENS * share))
    return table


def columns(kept: Kept) -> dict[str, Any]:
    """The columns of the list, and the prompts that they count in."""
    prompts: dict[tuple[str, str], int] = {}
    found: dict[str, list[Any]] = {name: [] for name in (*OF_THE_LIST, "tokens", "prompt", "start", "engine", "oldest", "newest")}
    for step, row in kept.rows:
        named = short_text(row.get("prompt_id")), short_text(row.get("question") or row.get("prompt"))
        group = kept.groups.get(name_of(row)[0], {})
        values = {name: plain(row.get(name)) for name in OF_THE_LIST} | {
            "step": step,
            "tokens": plain(row.get("tokens")),
            "prompt": prompts.setdefault(named, len(prompts)),
            "start": start_of(row),
            "engine": plain(group.get("engine")),
            **versions_of(row, group),
        }
        for name, value in values.items():
            found[name].append(value)
    return {"columns": found, "prompts": [list(name) for name in prompts]}


def versions_of(row: Row, group: Row) -> dict[str, Any]:
    """The weights of the first and the last token: a response's own, or else its group's."""
    own = row.get("versions")
    if isinstance(own, list) and len(own) == len(("first", "last")):
        return {"oldest": plain(own[0]), "newest": plain(own[1])}
    return {"oldest": plain(group.get("oldest_version")), "newest": plain(group.get("newest_version"))}


def start_of(row: Row) -> str:
    """How a response begins; of an episode what the model said, turn by turn."""
    turns = row.get("turns")
    said = [turn.get("said") for turn in turns[:START] if isinstance(turn, dict)] if isinstance(turns, list) else []
    return short_text(" · ".join(str(one)[:START] for one in said) or row.get("response"))


def short_text(value: object) -> str:
    """The beginning of a text on one line."""
    text = value if isinstance(value, str) else "" if value is None else str(plain(value))
    return " ".join(text[: 3 * START].split())[:START]


def plain(value: object) -> Any:
    """A value of a row as a cell of the list: a number, a short text or nothing."""
    if value is None or isinstance(value, bool):
        return None
    found = number(value)
    if found is not None:
        return int(found) if isinstance(value, int) else found
    return str(value)[:START] if isinstance(value, str) else None


def chunked(rows: Sequence[Row]) -> Sequence[list[Row]]:
    """The rows in order, divided so that a chunk has about as many characters as `CHUNK`."""
    chunks: list[list[Row]] = []
    room = 0
    for row in rows:
        size = len(str(row.get("response"))) + len(str(row.get("prompt"))) + len(str(row.get("turns", "")))
        if room < size or not chunks:
            chunks.append([])
            room = CHUNK
        chunks[-1].append(row)
        room -= size
    return chunks


def add_tokens(table: Table, run: RunFiles, kept: Kept, place: int, most: int) -> Mapping[str, list[str]]:
    """Add the numbers of tokens to a table, a block a capsule; returns by the block's name which responses it has."""
    if not kept.capsules:
        return {}
    surrogate, model = settings_of(run)
    tokenizer = tokenizer_of(model) if model is not None else None
    if tokenizer is None:
        kept.notes.append(f"Tokens are shown by their numbers: {model or 'the model'} has no tokenizer.json that can be read here.")
    blocks: dict[str, list[str]] = {}
    for number_of, capsule in enumerate(kept.capsules):
        shown = [name_of(row) for step, row in kept.rows if step == capsule.step]
        block = {
            f"{capsule.step}/{name[0]}/{name[1]}": [
                shades_of(row, pieces_of(tokenizer, row.token_ids[:MOST_OF_A_ROW].tolist()), surrogate) for row in rows
            ]
            for name, rows in rows_within(capsule, shown, most // len(kept.capsules))
        }
        table.more[f"{place}-tokens-{number_of}"] = block
        blocks[f"{place}-tokens-{number_of}"] = list(block)
    return blocks


def settings_of(run: RunFiles) -> tuple[Surrogate | None, Path | None]:
    """The surrogate and the model's folder; None where the config is of another version and cannot be read."""
    try:
        config = configured(run.folder / "config.toml", {"run.dir": run.folder.absolute()})
    except (InputError, OSError, ValueError):
        return None, None
    return config.objective.resolved.surrogate, expanded(config.model.path)
