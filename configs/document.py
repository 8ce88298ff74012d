"""Writes the tables of docs/config.md from the config's own descriptions: `python -m configs.document`.

Only the lines between `<!-- table NAME -->` and `<!-- end -->` are replaced; everything else on the page is written by hand.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from configs.rules.effect import NEEDS
from configs.rules.engine import DEEPSPEED_OWNED, VLLM_OWNED
from configs.schema import ALL_RULES, Config
from configs.suggest import definitions, flatten_type, item_of, known_keys, name_array
from configs.toml_writer import shorten, write_value

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
TABLE = re.compile(r"(?P<start><!-- table (?P<name>\S+) -->\n).*?(?=<!-- end -->)", re.DOTALL)
KINDS = {"integer": "whole number", "number": "number", "string": "string", "boolean": "boolean", "object": "table"}
BOUNDS = {"minimum": "≥", "ge": "≥", "exclusiveMinimum": ">", "gt": ">", "maximum": "≤", "le": "≤", "exclusiveMaximum": "<", "lt": "<"}
# Where a page says more about a key.
MORE = {
    "run.max_staleness": "architecture.md#versions-and-staleness",
    "model.path": "models.md#where-a-model-comes-from",
    "data.template_file": "#chat-templates",
    "data.train": "data.md#forms",
    "data.sources": "data.md#several-sources",
    "data.evals": "data.md#several-eval-sets",
    "data.prompt_field": "data.md#fields",
    "data.keep_fields": "rewards.md#columns-of-the-row",
    "data.template_arguments": "data.md#the-assistants-turn",
    "data.prefill": "data.md#the-assistants-turn",
    "data.answer_turn": "data.md#messages-that-end-in-an-answer",
    "data.sampler": "algorithms.md#which-prompts-come-up",
    "rollout.vllm": "#pass-through-tables",
    "reward.checker": "rewards.md#checkers",
    "reward.thinking": "rewards.md#thinking",
    "reward.thinking_marks": "rewards.md#thinking",
    "reward.parts": "#rewardpartsname",
    "reward.overlong_cache": "algorithms.md#over-long-responses",
    "code.sandbox": "rewards.md#the-sandbox",
    "learner.packing": "performance.md#packing",
    "learner.threads": "performance.md#threads",
    "rollout.threads": "performance.md#threads",
    "learner.router": "moe.md#router-care",
    "learner.deepspeed": "#pass-through-tables",
    "objective.preset": "algorithms.md",
    "objective.advantage": "algorithms.md#advantages",
    "objective.surrogate": "algorithms.md#surrogates",
    "objective.reduction": "algorithms.md#reductions",
    "objective.credit": "algorithms.md#credit-by-turn",
    "objective.router_shift": "algorithms.md#router-shift",
    "correction.preset": "algorithms.md#correction-of-the-mismatch",
    "code.prelude": "rewards.md#the-sandbox",
    "learner.schedule": "algorithms.md#learning-rate",
    "entropy.coefficient": "algorithms.md#entropy-bonus",
    "entropy.target": "algorithms.md#entropy-bonus",
    "kl.estimator": "algorithms.md#kl-to-a-reference",
}


def rewritten(page: str) -> str:
    """The page with every marked table written anew; a KeyError names a table that does not exist."""
    return TABLE.sub(lambda found: found["start"] + "\n" + "\n".join(tables()[found["name"]]()) + "\n\n", page)


def tables() -> dict[str, Callable[[], list[str]]]:
    """Name of a marker -> the lines of its table."""
    sections = {name: lambda name=name: keys_table(name, known_keys()[name]) for name in Config.model_fields}
    return {
        **sections,
        "data.sources.NAME": lambda: keys_table("data.sources.NAME", definitions()["SourceConfig"]),
        "data.evals.NAME": lambda: keys_table("data.evals.NAME", definitions()["EvalConfig"]),
        "reward.parts.NAME": lambda: keys_table("reward.parts.NAME", definitions()["PartConfig"]),
        "owned-by-vllm": lambda: two_columns("key", "why, or what to set", {code(key): marked(why) for key, why in VLLM_OWNED.items()}),
        "owned-by-deepspeed": lambda: two_columns(
            "key", "why, or what to set", {code(key): marked(why) for key, why in DEEPSPEED_OWNED.items()}
        ),
        "rules": lambda: two_columns("rule", "what it asks", {code(rule.__name__): one_line(rule.__doc__) for rule in ALL_RULES}),
        "needs": lambda: two_columns("key", "has no effect unless you set", {code(row.key): marked(row.needed) for row in NEEDS}),
    }


def keys_table(section: str, keys: dict[str, dict[str, Any]]) -> list[str]:
    rows = [
        f"| {code(key)} | {kind_of(schema)} | {default_of(schema)} | {meaning_of(f'{section}.{key}', schema)} |"
        for key, schema in keys.items()
    ]
    return ["| key | type | default | meaning |", "|---|---|---|---|", *rows]


def two_columns(left: str, right: str, rows: dict[str, str]) -> list[str]:
    return [f"| {left} | {right} |", "|---|---|", *(f"| {first} | {second} |" for first, second in rows.items())]


def kind_of(schema: dict[str, Any]) -> str:
    """The type of a key's value, with its bounds or its choices."""
    flat = flatten_type(schema)
    if "enum" in flat:
        return r" \| ".join(code(write_value(choice)) for choice in flat["enum"])
    if flat.get("type") == "array":
        bounds = kind_of(item_of(flat)).removeprefix("number").removeprefix("string")
        other = " or boolean" if any(one.get("type") == "boolean" for one in schema.get("anyOf", ())) else ""
        return f"{name_array(flat)}{bounds}{other}"
    if (inner := flat.get("additionalProperties", True)) is not True:
        return "table of strings" if inner == {"type": "string"} else "table of tables"
    bounds = ", ".join(f"{sign} {flat[bound]}" for bound, sign in BOUNDS.items() if bound in flat)
    other = next((f", or {code(text)}" for text in (flat.get("table"), word_of(flat)) if text), "")
    return f"{KINDS[flat['type']] if 'type' in flat else 'anything'} {bounds}".strip() + other


def word_of(flat: dict[str, Any]) -> str | None:
    """The word that a key takes in place of a value of its type."""
    return write_value(flat["word"]) if "word" in flat else None


def default_of(schema: dict[str, Any]) -> str:
    """What a key is when it is left out."""
    if flatten_type(schema).get("type") == "object":
        return "empty"
    if "default" not in schema:
        return "required"
    default = schema["default"]
    if isinstance(default, str) and "\n" in default:
        return "a text of several lines"
    return "left out" if default is None else code(shorten(default))


def meaning_of(key: str, schema: dict[str, Any]) -> str:
    more = f" ([more]({MORE[key]}))" if key in MORE else ""
    text = re.sub(r'`[^`]*`|"[^"]*"', lambda found: code(found[0].strip("`")), schema["description"])
    return text.replace("|", r"\|") + more


def code(text: str) -> str:
    return f"`{text}`"


def marked(text: str) -> str:
    """The text of a message with its keys, and the values they are set to, marked as code."""
    return re.sub(r'\b[a-z]+\.[a-z_]+\b(?: = (?:"[^"]*"|\w+))?', r"`\g<0>`", text)


def one_line(text: str | None) -> str:
    return " ".join((text or "").split())


def main() -> None:
    """Rewrite the page, and say whether it has changed."""
    before = PAGE.read_text(encoding="utf-8")
    after = rewritten(before)
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE}: {'unchanged' if after == before else 'rewritten'}")


if __name__ == "__main__":
    main()
