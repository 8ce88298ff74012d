"""Prompts from rows: map fields, apply the chat template, tokenise once."""

from dataclasses import dataclass, field

import numpy as np

from configs.schema import Config
from configs.sections.data import DataConfig
from rollout.chat import Tokenizer, question_of, tokenise
from rollout.dataset import DatasetError, Row, read_rows
from rollout.types import Prompt

ID_FIELD = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """The prompts of one dataset, and how many of its rows were dropped as too long."""

    prompts: list[Prompt]
    dropped: int
    where: dict[str, str] = field(default_factory=dict)  # by prompt id, the row it comes from: "prompts.jsonl line 3"


def load_prompts(config: Config, source: str, split: str, tokenizer: Tokenizer) -> PromptSet:
    """Read a dataset and make a prompt of each row; data.overlong decides about rows above data.max_prompt_tokens.

    A prompt's id is its row's own "id", else the row's number from 0. No two prompts share an id.
    """
    data = config.data
    if data.chat_template and not tokenizer.chat_template:
        raise DatasetError("data.chat_template is true, but the model's tokenizer has no chat template: set data.chat_template = false")
    optional = [ID_FIELD, data.checker_field] if data.checker_field else [ID_FIELD]
    rows = read_rows(source, split, [data.prompt_field, data.reference_field], optional)
    prompts = [make_prompt(config, number, row, tokenizer) for number, row in enumerate(rows)]
    refuse_shared_ids(rows, prompts)
    fitting = [prompt for prompt in prompts if len(prompt.token_ids) <= data.max_prompt_tokens]
    dropped = len(prompts) - len(fitting)
    if dropped and data.overlong == "refuse":
        raise DatasetError(describe_overlong(data, rows, prompts))
    if not fitting:
        shortest = min(len(prompt.token_ids) for prompt in prompts)
        raise DatasetError(
            f"{source}: all {dropped} prompts are above data.max_prompt_tokens = {data.max_prompt_tokens} and were dropped, "
            f"so nothing is left: raise it to at least {shortest}, the shortest prompt"
        )
    where = {prompt.prompt_id: row.where for prompt, row in zip(prompts, rows, strict=True)}
    return PromptSet(prompts=fitting, dropped=dropped, where=where)


def make_prompt(config: Config, number: int, row: Row, tokenizer: Tokenizer) -> Prompt:
    """One row's prompt, however long."""
    data = config.data
    text, ids = tokenise(data, row, tokenizer)
    if not ids:
        raise DatasetError(f'{row.where} has an empty prompt in field "{data.prompt_field}": fill it in or remove the row')
    return Prompt(
        prompt_id=str(number if row.values.get(ID_FIELD) is None else row.values[ID_FIELD]),
        token_ids=np.array(ids, np.int32),
        reference=row.values[data.reference_field],
        checker=pick_checker(config, row),
        text=text,
        question=question_of(data, row),
        where=row.where,
    )


def pick_checker(config: Config, row: Row) -> str:
    """The checker that the row names, or the run's."""
    named = row.values.get(config.data.checker_field) if config.data.checker_field else None
    if named is None:
        return config.reward.checker
    if not isinstance(named, str):
        raise DatasetError(f'{row.where} has {named!r} in field "{config.data.checker_field}": it must be the name of a checker')
    return named


def refuse_shared_ids(rows: list[Row], prompts: list[Prompt]) -> None:
    """Raise DatasetError if two rows share an id, by which the ledger names prompts."""
    first: dict[str, Row] = {}
    for row, prompt in zip(rows, prompts, strict=True):
        other = first.setdefault(prompt.prompt_id, row)
        if other is not row:
            raise DatasetError(
                f'{row.where} and {other.where} have the same id "{prompt.prompt_id}": give every row its own "{ID_FIELD}", or none of them'
            )


def describe_overlong(data: DataConfig, rows: list[Row], prompts: list[Prompt]) -> str:
    lengths = [len(prompt.token_ids) for prompt in prompts]
    long = [place for place, tokens in enumerate(lengths) if tokens > data.max_prompt_tokens]
    return (
        f"{rows[long[0]].where} has {lengths[long[0]]} prompt tokens, above data.max_prompt_tokens = {data.max_prompt_tokens}; "
        f'{len(long)} of {len(rows)} rows are above it: raise data.max_prompt_tokens, or set data.overlong = "drop" to leave them out'
    )
