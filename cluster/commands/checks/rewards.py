"""Checks of a run's rewards before it starts: checkers, references, the sandbox, services."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from cluster.commands.checks.episodes.environments import is_environment, try_environment
from cluster.commands.checks.episodes.tries import ERROR, MISTAKES, OTHER_RESPONSES, SHOWN_CHARS, SLIPS
from cluster.commands.checks.rows.own_functions import refuse_columns_nobody_kept, refuse_references, unasked_columns
from cluster.commands.checks.rows.references import beside
from cluster.commands.checks.rows.understood import describe_not_understood
from configs.arithmetic import counted
from configs.digits import write_long_json
from configs.errors import RewardError, in_one_line, raises
from configs.schema import Config
from configs.tool_names import PYTHON, PYTHON_SESSION
from reward.asked import AGENT, Asked
from reward.checkers import CHECKERS, check_reference, checkers_for_data, refuse_unknown
from reward.code_limits import code_limits
from reward.dispatch import refuse_environments_beside
from reward.own.name import is_own
from reward.scorer import used_checkers
from reward.services.services import probe_services
from reward.thinking import answer_of
from reward.workers.pool import Item, RewardPool
from rollout.prompts.prompts import PromptSet
from rollout.types import Prompt

SAMPLES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewards:
    """How prompts will be scored, in lines, and which checkers are environments."""

    lines: Sequence[str] = ()
    environments: Sequence[str] = ()


@raises(RewardError)
def check_rewards(config: Config, train: PromptSet, held_out: PromptSet) -> Rewards:
    """How these prompts will be scored; ValueError with the row or the checker that cannot be used."""
    named = used_checkers(config)
    for name in named:
        refuse_unknown(name)
    check_references_of_parts(config)
    for rows in (train, held_out):
        refuse_code_named_by_data(config, rows)
        check_references(config, rows)
    used = {*named, *(prompt.checker for prompt in (*train.prompts, *held_out.prompts))}
    lines = [f"rewards: {', '.join(sorted(used))}; {counted(config.reward.workers, 'worker')} on {_where(config)}"]
    lines += describe_not_understood(train)
    environments: Sequence[str] = ()
    if config.tools.use:
        lines.append(f"tools: {', '.join(config.tools.use)}; calls as {config.tools.format} writes them")
    if "code" in used or not {PYTHON, PYTHON_SESSION}.isdisjoint(config.tools.use):
        refuse_programs_that_do_not_fit(config)
        from reward.programs.sandbox import describe_confinement

        lines.append(f"programs: {describe_confinement(code_limits(config))}")
    if own := [name for name in named if is_own(name)]:
        tried = asyncio.run(try_functions(config, own, train, held_out))
        lines += tried.lines
        environments = tried.environments
    return Rewards(lines=[*lines, *probe_services(config, used)], environments=environments)


async def try_functions(config: Config, functions: Sequence[str], rows: PromptSet, held_out: PromptSet) -> Rewards:
    """Import the user's functions in a reward worker and score a few responses: rows' own references, a wrong and an empty one.

    A line about each function. ValueError where one cannot be imported, fails whatever the response, or names what does not exist.
    A worker sees less of the environment than the driver, and the driver itself imports none of the user's code.
    """
    memory_mb, timeout_s = config.reward.memory_mb, float(config.reward.timeout_s)
    with worker_starts(config):
        async with RewardPool(workers=1, timeout_s=timeout_s, memory_mb=memory_mb, warm=functions) as pool:
            refuse_environments_beside(config, pool.asks)
            for where in (rows, held_out):
                refuse_columns_nobody_kept(config, pool, where)
                await refuse_references(config, pool, where)
            lines = [await try_function(pool, name, samples_for(config, name, rows)) for name in functions]
            environments = [name for name in functions if is_environment(pool, name)]
            return Rewards(lines=[*lines, *unasked_columns(pool, rows)], environments=environments)


@contextmanager
def worker_starts(config: Config) -> Iterator[None]:
    """Within: a reward worker that cannot start is a RewardError of one line."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        first, *others = str(error).strip().splitlines() or [type(error).__name__]
        said = f"{first} … {others[-1].strip()}" if others else first  # of a traceback the last line says what happened
        raise RewardError(
            f"{in_one_line(said)}: raise reward.memory_mb (got {config.reward.memory_mb}) if memory is short, or correct the "
            "function that the worker imports"
        ) from error


async def try_function(pool: RewardPool, name: str, samples: Sequence[tuple[str, Item]]) -> str:
    """The line about one function; ValueError where it is broken."""
    if not samples:
        return f"{name}: imported; no row of data.train asks for it"
    if AGENT in pool.asks.get(name, ()):
        return f"{name}: agent, imported; each response has a process of its own for it"
    if is_environment(pool, name):
        return await try_environment(pool, name, samples)
    where, item = samples[0]
    items, what_is_tried = [item for _, item in samples], "reference"
    if "brings gold" in pool.asks.get(name, ()):
        (right,) = await pool.score([replace(item, of_reference=True)])
        if gold := right.words.get("gold"):
            item = items[0] = replace(item, response=gold)
            what_is_tried = "gold answer"
    group = (item.response, *OTHER_RESPONSES)
    items[0] = replace(item, group=group)
    others = [replace(item, response=response, group=group, fields={**item.fields, "index": i}) for i, response in enumerate(group) if i]
    tried = f"with the {what_is_tried} of {where} as the response ({item.response[:SHOWN_CHARS]!r})"
    verdicts = await pool.score([*items, *others])
    failures = [in_one_line(verdict.failure) for verdict in verdicts if verdict.failure]
    always = len(failures) == len(verdicts)
    slip = next((failure for failure in failures if failure.startswith(SLIPS)), None)
    if always or slip:
        what = f"fails {tried}" if always else f"has a mistake on one of its ways, seen with a wrong or an empty response to {where}"
        advice = "" if slip or failures[0].startswith(MISTAKES) else "; it should score 0 for a response that it cannot read"
        raise ValueError(f"checker {name!r} {what}: {(slip or failures[0]).removeprefix(ERROR)}{advice}")
    if verdicts[0].failure:
        return f"{name}: {verdicts[0].outcome} {tried}: {failures[0]}"
    return f"{name}: {verdicts[0].reward:g} {tried}"


def samples_for(config: Config, name: str, rows: PromptSet) -> list[tuple[str, Item]]:
    """The first rows that a function scores, each with its place; the response is the reference, as text."""
    parts = [part for key, part in config.reward.parts.items() if (part.checker or key) == name]
    everywhere, fixed = bool(parts) or config.reward.second == name, next((part.reference for part in parts), None)
    found: list[tuple[str, Item]] = []
    for prompt in rows.prompts:
        if len(found) == SAMPLES:
            break
        if everywhere or prompt.checker == name:
            reference = prompt.reference if fixed is None else fixed
            response = as_response(reference)
            asked = asked_of(prompt, response)
            item = Item(checker=name, response=response, reference=reference, fields=asked.fields, group=(response,))
            found.append((rows.where[prompt.prompt_id], item))
    return found


def asked_of(prompt: Prompt, response: str) -> Asked:
    """A response to a row's prompt, alone in its group and the whole of its episode; what a model would have made of it is unknown."""
    return Asked(
        checker=prompt.checker,
        response=response,
        reference=prompt.reference,
        tokens=1,
        prompt=prompt.text,
        question=prompt.question,
        prefill=prompt.prefill,
        columns=prompt.columns,
        over=True,
    )


def as_response(reference: Any) -> str:
    """A reference as the text of a response, for a function of the user's, whose right answers nobody else knows."""
    return reference if isinstance(reference, str) else write_long_json(reference, ensure_ascii=False)


def refuse_programs_that_do_not_fit(config: Config) -> None:
    """Raise ValueError if a program may use more than the worker that runs it."""
    code, reward = config.code, config.reward
    for key, inner, outer in (("timeout_s", code.timeout_s, reward.timeout_s), ("memory_mb", code.memory_mb, reward.memory_mb)):
        if inner >= outer:
            raise ValueError(
                f"code.{key} got {inner:g}, needed less than reward.{key} ({outer:g}): a program runs within the limits of its worker, "
                f"which would be killed with it: lower code.{key} or raise reward.{key}"
            )


def _where(config: Config) -> str:
    return "one node" if config.reward.nodes == "one" else "every node with an engine"


def refuse_code_named_by_data(config: Config, rows: PromptSet) -> None:
    """Raise ValueError if a row names code to import: the author of the data would choose what runs here."""
    allowed = sorted({*checkers_for_data(config.reward.checker), *config.data.own_checkers})
    for prompt in rows.prompts:
        if prompt.checker not in allowed:
            raise ValueError(
                f"{rows.where[prompt.prompt_id]} names checker {prompt.checker!r}, needed one of {', '.join(allowed)}: "
                "data may not name other code; correct the row, or set reward.checker to that function if you trust it"
            )


def check_references_of_parts(config: Config) -> None:
    """Raise ValueError if the checker of a part cannot use the part's own reference."""
    for name, part in config.reward.parts.items():
        if part.reference is not None:
            try:
                check_reference(part.checker or name, part.reference)
            except ValueError as error:
                raise ValueError(f"reward.parts.{name}.reference: {error}") from None


def refuse_unfinished_reference(config: Config, where: str, prompt: Prompt) -> None:
    """Raise ValueError if the row's reference is a text that ends within a thought: no answer can equal it."""
    text, marks = prompt.reference, config.reward.thinking_marks
    strips = config.reward.thinking == "strip" and prompt.checker in CHECKERS
    if strips and isinstance(text, str) and answer_of(text, marks) is None:
        raise ValueError(
            f"{where}: its reference opens a thought ({marks[0]}) and never ends it, and checkers see answers without thoughts: correct "
            'the reference, or set reward.thinking_marks to the marks of the model, or reward.thinking = "keep"'
        )


def check_references(config: Config, rows: PromptSet) -> None:
    """Raise ValueError, with the row and the key that asks for it, if a checker cannot use the row's reference."""
    parts = config.reward.parts.items()
    others = {f"reward.parts.{name}": part.checker or name for name, part in parts if part.reference is None}
    if config.reward.second:
        others["reward.second"] = config.reward.second
    for prompt in rows.prompts:
        refuse_unfinished_reference(config, rows.where[prompt.prompt_id], prompt)
        for key, checker in (("", prompt.checker), *others.items()):
            try:
                check_reference(checker, prompt.reference)
            except ValueError as error:
                asked = f" (asked by {key}, which uses the row's reference unless it has its own)" if key else ""
                raise ValueError(f"{rows.where[prompt.prompt_id]}: {error}{asked}{beside(rows, prompt, checker)}") from None
