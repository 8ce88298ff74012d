"""Prompts from rows: map fields, apply the chat template, tokenise once."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from configs.no_reward import NO_REWARD
from configs.schema import Config
from configs.sections.data import DataConfig
from rollout.chat.chat import Schema, Tokenizer, question_of, tokenise
from rollout.data.read import read_rows
from rollout.data.row import DatasetError, Row
from rollout.data.sources import Source, eval_sources, training_sources
from rollout.prompts.columns import columns_of, fields_to_keep, refuse_absent
from rollout.types import Prompt

ID_FIELD = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """Prompts, and how many rows were dropped as too long."""

    prompts: list[Prompt]
    dropped: int
    dropped_from: dict[str, int] = field(default_factory=dict)  # the same by source
    where: dict[str, str] = field(default_factory=dict)  # by prompt id, the row it comes from: "prompts.jsonl line 3"

    @property
    def sizes(self) -> Mapping[str, int]:
        """The number of prompts of each source, in the order of the sources."""
        return Counter(prompt.source for prompt in self.prompts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """Held-out prompts that are evaluated together."""

    name: str  # part of its metrics' names; empty for data.eval
    path: str
    samples: int  # responses to each prompt, besides the greedy one
    prompts: list[Prompt]
    dropped: int = 0  # rows that were too long


def load_training_prompts(config: Config, tokenizer: Tokenizer, schemas: Sequence[Schema] = ()) -> PromptSet:
    """The prompts of `data.train`, or of all sources one after another. The template shows the model the `schemas` of its tools."""
    return joined([load_prompts(source, tokenizer, schemas) for source in training_sources(config)])


def load_eval_sets(config: Config, tokenizer: Tokenizer, schemas: Sequence[Schema] = ()) -> tuple[list[EvalSet], PromptSet]:
    """`data.eval` and the named eval sets, and all of their prompts together."""
    sets, rows = [], []
    for source, samples in eval_sources(config):
        found = load_prompts(source, tokenizer, schemas)
        sets.append(EvalSet(name=source.name, path=source.path, samples=samples, prompts=found.prompts, dropped=found.dropped))
        rows.append(found)
    return sets, joined(rows)


def joined(sets: Sequence[PromptSet]) -> PromptSet:
    return PromptSet(
        prompts=[prompt for found in sets for prompt in found.prompts],
        dropped=sum(found.dropped for found in sets),
        dropped_from={name: count for found in sets for name, count in found.dropped_from.items()},
        where={prompt_id: row for found in sets for prompt_id, row in found.where.items()},
    )


def load_prompts(source: Source, tokenizer: Tokenizer, schemas: Sequence[Schema] = ()) -> PromptSet:
    """Read a dataset and make a prompt of each row; data.overlong decides about rows above data.max_prompt_tokens.

    A prompt's id is its row's own "id", else the row's number from 0, after the name of its source and a slash if there is one.
    No two prompts of a source share an id.
    """
    data = source.data
    if data.chat_template and not tokenizer.chat_template:
        raise DatasetError(
            "data.chat_template is true, but the model's tokenizer has no chat template: "
            "give one in data.template_file, or set data.chat_template = false"
        )
    try:
        return read_prompts(source, tokenizer, schemas)
    except DatasetError as error:
        if not source.name:
            raise
        raise DatasetError(f"{source.key}: {error}") from error


def read_prompts(source: Source, tokenizer: Tokenizer, schemas: Sequence[Schema]) -> PromptSet:
    """The prompts of one source that fit data.max_prompt_tokens."""
    data = source.data
    needed, optional = [data.prompt_field, data.reference_field], [ID_FIELD, data.checker_field] if data.checker_field else [ID_FIELD]
    if source.checker == NO_REWARD and not data.checker_field:
        optional.append(needed.pop())
    optional += fields_to_keep(data.keep_fields)
    rows = read_rows(source.path, source.split, needed, optional)
    refuse_absent(source.path, data.keep_fields, rows)
    prompts = [make_prompt(source, number, row, tokenizer, schemas) for number, row in enumerate(rows)]
    refuse_shared_ids(rows, prompts)
    fitting = [prompt for prompt in prompts if len(prompt.token_ids) <= data.max_prompt_tokens]
    dropped = len(prompts) - len(fitting)
    if dropped and data.overlong == "refuse":
        raise DatasetError(describe_overlong(data, rows, prompts))
    if not fitting:
        shortest = min(len(prompt.token_ids) for prompt in prompts)
        raise DatasetError(
            f"{source.path}: all {dropped} prompts are above data.max_prompt_tokens = {data.max_prompt_tokens} and were dropped, "
            f"so nothing is left: raise it to at least {shortest}, the shortest prompt"
        )
    where = {prompt.prompt_id: row.where for prompt, row in zip(prompts, rows, strict=True)}
    return PromptSet(prompts=fitting[: source.limit], dropped=dropped, dropped_from={source.name: dropped}, where=where)


def make_prompt(source: Source, number: int, row: Row, tokenizer: Tokenizer, schemas: Sequence[Schema] = ()) -> Prompt:
    """One row's prompt, however long."""
    data = source.data
    text, ids = tokenise(data, row, tokenizer, schemas)
    if not ids:
        raise DatasetError(f'{row.where} has an empty prompt in field "{data.prompt_field}": fill it in or remove the row')
    own = str(row.values.get(ID_FIELD, number))
    return Prompt(
        prompt_id=f"{source.name}/{own}" if source.name else own,
        token_ids=np.array(ids, np.int32),
        reference=row.values.get(data.reference_field),
        checker=(named := pick_checker(row, data.checker_field)) or source.checker,
        named_checker=named,
        text=text,
        source=source.name,
        question=question_of(data, row),
        where=row.where,
        key=source.key,
        prefill=data.prefill or "",
        columns=columns_of(data.keep_fields, row),
    )


def pick_checker(row: Row, name: str | None) -> str:
    """The checker that the row names in the field `name`; empty where it names none."""
    named = row.values.get(name) if name else None
    if named is None:
        return ""
    if not isinstance(named, str):
        raise DatasetError(f'{row.where} has {named!r} in field "{name}": it must be the name of a checker')
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
