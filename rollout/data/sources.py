"""The sources of a run's prompts and its eval sets, each with every key resolved."""

from dataclasses import dataclass

from configs.schema import Config
from configs.sections.data import DataConfig, RowKeys


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One dataset, and how its rows are read."""

    key: str  # where the config names it: "data.train", "data.sources.NAME"
    name: str  # NAME; empty for data.train and data.eval
    path: str
    split: str
    data: DataConfig  # with the source's own keys over the run's
    checker: str  # of rows that name none
    limit: int | None = None  # prompts


def training_sources(config: Config) -> list[Source]:
    """`data.train` alone, or the sources, sorted by name: the order of their tables in the file means nothing."""
    data = config.data
    if data.train is not None:
        return [Source(key="data.train", name="", path=data.train, split=data.split, data=data, checker=config.reward.checker)]
    return [resolve(config, f"data.sources.{name}", table.path, table.split, table) for name, table in sorted(data.sources.items())]


def eval_sources(config: Config) -> list[tuple[Source, int]]:
    """`data.eval`, then the named eval sets, sorted by name; each with the number of sampled responses to a prompt."""
    data, samples = config.data, config.rollout.eval_responses
    found: list[tuple[Source, int]] = []
    if data.eval is not None:
        plain = Source(
            key="data.eval",
            name="",
            path=data.eval,
            split=data.eval_split,
            data=data,
            checker=config.reward.checker,
            limit=data.eval_limit,
        )
        found.append((plain, samples))
    for name, table in sorted(data.evals.items()):
        found.append((resolve(config, f"data.evals.{name}", table.path, table.split, table), table.responses or samples))
    return found


def every_source(config: Config) -> list[Source]:
    """The training sources, then the eval sets."""
    return [*training_sources(config), *(source for source, _ in eval_sources(config))]


def resolve(config: Config, key: str, path: str, split: str, table: RowKeys) -> Source:
    """The source of a table: its own keys where they are given, else those of `[data]` and `reward.checker`."""
    own = {
        name: getattr(table, name)
        for name in ("prompt_field", "reference_field", "checker_field", "answer_turn", "template_arguments", "keep_fields")
        if getattr(table, name) is not None
    }
    if table.system is not None:
        own["system"] = table.system or None
    if table.prefill is not None:
        own["prefill"] = table.prefill or None
    return Source(
        key=key,
        name=key.rpartition(".")[2],
        path=path,
        split=split,
        data=config.data.model_copy(update=own),
        checker=table.checker or config.reward.checker,
        limit=table.limit,
    )
