"""The rules for `[data]`: one source or several, names that metrics can carry, keys that would have no effect."""

import re
from collections.abc import Iterator

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.toml_writer import shorten

MOST_APART = 1e9  # shares of two sources
GIVEN_TO_TEMPLATES = ("messages", "conversation", "chat_template", "add_generation_prompt", "continue_final_message")
OPTIONS_OF_TOKENISING = ("tokenize", "tokenizer_kwargs", "padding", "truncation", "max_length", "return_tensors", "return_dict")
NAME = re.compile(r"[A-Za-z0-9_-]+")


def prompts_come_from_train_or_from_sources(config: Keys) -> Iterator[Problem]:
    """Exactly one of `data.train` and `[data.sources.NAME]` is given, and `data.split` only with `data.train`."""
    data = config.data
    keys = ("data.train", "data.sources")
    if data.train is None and not data.sources:
        message = (
            "missing; needed the training prompts (a file, a folder, a glob or a Hugging Face dataset id): write for example "
            'train = "train.jsonl" in [data], or a table [data.sources.NAME] with its path for each of several sources'
        )
        yield Problem(keys, message)
    if data.train is not None and data.sources:
        message = f'got "{data.train}" beside [data.sources.{next(iter(data.sources))}]: remove it, or make it a source of its own'
        yield Problem(keys, message)
    if data.sources and data.split != "train":
        message = f'got "{data.split}" with [data.sources.NAME], so it has no effect: set the split of each source instead'
        yield Problem(("data.split", "data.sources"), message)


def sources_and_eval_sets_have_usable_names(config: Keys) -> Iterator[Problem]:
    """Names of `data.sources` and `data.evals` consist of letters, digits, `_` and `-`, as they become names of metrics."""
    for key in config.data.tables:
        _, table, name = key.split(".", 2)
        if not NAME.fullmatch(name):
            message = f'got the name "{name}", needed letters, digits, _ and -, as it becomes part of metrics: rename the table'
            yield Problem((f"data.{table}",), message)


def all_sources_have_a_share_or_none(config: Keys) -> Iterator[Problem]:
    """Either every source has a `share`, or none has."""
    sources = config.data.sources
    without = [name for name, source in sources.items() if source.share is None]
    if without and len(without) < len(sources):
        message = "missing, but other sources have a share: give it too, or remove all shares to draw every prompt equally often"
        yield Problem((f"data.sources.{without[0]}.share", "data.sources"), message)


def shares_are_of_one_order(config: Keys) -> Iterator[Problem]:
    """The largest `share` is at most 10⁹ times the smallest, as a smaller one would never give a group."""
    shares = {name: source.share for name, source in config.data.sources.items() if source.share is not None}
    if shares and max(shares.values()) / MOST_APART > min(shares.values()):
        least = min(shares, key=lambda name: float(shares[name]))
        message = (
            f"got {shares[least]:g} beside a share of {max(shares.values()):g}, needed at least a part in {MOST_APART:.0e}, as it would "
            "never give a group: raise it, or remove that source"
        )
        yield Problem((f"data.sources.{least}.share", "data.sources"), message)


def keys_of_turns_need_the_chat_template(config: Keys) -> Iterator[Problem]:
    """`system`, `answer_turn`, `template_arguments` and `prefill` of a source or eval set need `data.chat_template = true`."""
    if config.data.chat_template:
        return
    for key, table in config.data.tables.items():
        turns = {"system": table.system or None, "answer_turn": table.answer_turn, "prefill": table.prefill or None}
        for leaf, value in {**turns, "template_arguments": table.template_arguments or None}.items():
            if value is not None:
                message = f"got {shorten(value)} with data.chat_template = false, so it has no effect: set it to true, or remove {leaf}"
                yield Problem((f"{key}.{leaf}", "data.chat_template"), message)


def template_arguments_are_the_templates_own(config: Keys) -> Iterator[Problem]:
    """`template_arguments` has no name that every prompt sets by itself, and its true and false are not in quotes."""
    for key, arguments in config.data.every_template_arguments.items():
        for name, value in arguments.items():
            if name in (*GIVEN_TO_TEMPLATES, *OPTIONS_OF_TOKENISING):
                yield Problem((f"{key}.{name}", key), f"got {name}, which every prompt sets by itself: remove it")
            elif isinstance(value, str) and value.lower() in ("true", "false", "none", "null"):
                yield Problem(
                    (f"{key}.{name}", key), f'got the text "{value}", which templates take for true: write {value.lower()} without quotes'
                )


DATA_RULES: tuple[Rule, ...] = (
    prompts_come_from_train_or_from_sources,
    sources_and_eval_sets_have_usable_names,
    all_sources_have_a_share_or_none,
    shares_are_of_one_order,
    keys_of_turns_need_the_chat_template,
    template_arguments_are_the_templates_own,
)
