"""Whether the rows have what the user's own functions ask for, and whether these can use every reference."""

from configs.errors import in_one_line
from configs.schema import Config
from reward.own.name import is_own
from reward.workers.pool import Item, RewardPool
from rollout.prompts.prompts import PromptSet

BRINGS_CHECK = "brings check_reference"


def refuse_columns_nobody_kept(config: Config, pool: RewardPool, rows: PromptSet) -> None:
    """Raise ValueError where a function asks for `row`, but no column of a row that it scores is kept."""
    everywhere = [*(part.checker or name for name, part in config.reward.parts.items()), config.reward.second]
    for prompt in rows.prompts:
        for name in (prompt.checker, *everywhere):
            if name and not prompt.columns and "row" in pool.asks.get(name, ()):
                raise ValueError(
                    f"checker {name!r} asks for row, but data.keep_fields keeps no column of {rows.where[prompt.prompt_id]}: name the "
                    'columns that it reads, as in data.keep_fields = ["level"], or set it to true for all; a parameter that is meant to '
                    "get the reference is called reference"
                )


def unasked_columns(pool: RewardPool, rows: PromptSet) -> list[str]:
    """A line about columns that are kept for no function."""
    kept = rows.prompts[0].columns if rows.prompts else {}
    if not kept or any("row" in fields for fields in pool.asks.values()):
        return []
    return [f"data.keep_fields keeps {', '.join(kept)}, but no function asks for row: remove it, or add the parameter row"]


async def refuse_references(config: Config, pool: RewardPool, rows: PromptSet) -> None:
    """Raise ValueError, with the row, where a function's own `check_reference` refuses a reference."""
    everywhere = [part.checker or name for name, part in config.reward.parts.items() if part.reference is None]
    everywhere += [config.reward.second] if config.reward.second else []
    asked = [
        (rows.where[prompt.prompt_id], Item(checker=name, response="", reference=prompt.reference, of_reference=True))
        for prompt in rows.prompts
        for name in dict.fromkeys((prompt.checker, *everywhere))
        if is_own(name) and BRINGS_CHECK in pool.asks.get(name, ())
    ]
    fixed = [
        (f"reward.parts.{name}.reference", Item(checker=part.checker or name, response="", reference=part.reference, of_reference=True))
        for name, part in config.reward.parts.items()
        if part.reference is not None and BRINGS_CHECK in pool.asks.get(part.checker or name, ())
    ]
    for (where, item), verdict in zip([*fixed, *asked], await pool.score([item for _, item in [*fixed, *asked]]), strict=True):
        if verdict.failure:
            raise ValueError(f"{where}: checker {item.checker!r}: {in_one_line(verdict.failure).removeprefix('error: ')}")
