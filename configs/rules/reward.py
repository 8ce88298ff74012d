"""The rules for `[reward]`, `[judge]` and `[http]`: missing or invalid addresses, secrets in the config, parts of the reward."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from configs.keys import Keys
from configs.rules.common import Problem, Rule
from configs.rules.effect import has_no_effect, is_default
from configs.sections.reward import JUDGE_PLACEHOLDERS, EndpointConfig
from configs.toml_writer import quoted

TAKEN_NAMES = ("correct", "overlong", "second")  # metrics of the reward itself
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def services(config: Keys) -> tuple[tuple[str, EndpointConfig], ...]:
    return ("judge", config.judge), ("http", config.http)


def checkers_named(config: Keys) -> Iterator[tuple[str, str]]:
    """Every checker that the config names, after the key that names it."""
    yield "reward.checker", config.reward.checker
    if config.reward.second is not None:
        yield "reward.second", config.reward.second
    for name, part in config.reward.parts.items():
        yield f"reward.parts.{name}", part.checker or name
    for key, table in config.data.tables.items():
        if table.checker is not None:
            yield f"{key}.checker", table.checker


def services_in_use_have_an_address(config: Keys) -> Iterator[Problem]:
    """If `reward.checker`, `reward.second` or a part names `judge` or `http`, `[judge]` has `url` and `model`, or `[http]` has `url`."""
    for service, table in services(config):
        if (key := next((key for key, checker in checkers_named(config) if checker == service), None)) is None:
            continue
        if table.url is None:
            message = f'missing, but {key} asks the checker "{service}": give the address of the service, or use another checker'
            yield Problem((f"{service}.url", key), message)
        if service == "judge" and config.judge.model is None:
            message = f'missing, but {key} asks the checker "judge": name the model that the endpoint should use'
            yield Problem(("judge.model", key), message)


def service_addresses_are_valid(config: Keys) -> Iterator[Problem]:
    """A `url` starts with `http://` or `https://`, has no password and no `?…`, and `judge.url` ends before `/chat/completions`."""
    for service, table in services(config):
        if table.url is not None and (wrong := wrong_with_address(service, table.url)):
            yield Problem((f"{service}.url",), wrong)


def wrong_with_address(service: str, url: str) -> str | None:
    """Why that is no address for the service, and what to write; None if it is one."""
    like = "http://127.0.0.1:8000/v1" if service == "judge" else "https://checker.example/score"
    if what := next((what for mark, what in (("@", "a password"), ("?", "?…")) if mark in url), None):  # no other message may show it
        return (
            f"got an address with {what} (not shown, as it may contain a key), which run.dir/config.toml would contain: remove it, and put "
            f"a key into the environment variable named by {service}.key_env"
        )
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f'got "{url}", which is no address ({error}): write it like "{like}"'
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or any(c.isspace() for c in url):
        return f'got "{url}", needed http:// or https:// and a host: write it like "{like}"'
    if parts.fragment:
        return f'got "{url}", needed an address without #…: write it like "{like}"'
    if service == "judge" and (path := parts.path.rstrip("/")).endswith("/chat/completions"):
        return f'got "{url}": /chat/completions is added to it: write "{url[: url.index(path)]}{path.removesuffix("/chat/completions")}"'
    return None


def keys_stay_in_the_environment(config: Keys) -> Iterator[Problem]:
    """A `key_env` is the name of a variable, not a key."""
    for service, table in services(config):
        if table.key_env is not None and not VARIABLE.fullmatch(table.key_env):
            message = (
                "got no valid name of an environment variable (not shown, as it may be the key itself): export the key, for "
                f'example as {service.upper()}_KEY, and write key_env = "{service.upper()}_KEY"'
            )
            yield Problem((f"{service}.key_env",), message)


def judge_prompt_has_response_and_score(config: Keys) -> Iterator[Problem]:
    """`judge.prompt` contains `{response}` and "score:", and no unknown placeholder."""
    prompt = config.judge.prompt
    needed = ", ".join(f"{{{name}}}" for name in JUDGE_PLACEHOLDERS)
    if "{response}" not in prompt:
        yield Problem(("judge.prompt",), f"has no {{response}}, so there is nothing to grade: add it (placeholders are {needed})")
    if unknown := [name for name in re.findall(r"\{([A-Za-z_]\w*)\}", prompt) if name not in JUDGE_PLACEHOLDERS]:
        yield Problem(
            ("judge.prompt",), f"got the unknown placeholder {{{unknown[0]}}}: use {needed}; braces around anything else are allowed"
        )
    if "score:" not in prompt.lower():
        message = 'does not contain "score:", but the judge\'s last line must be "score: N": ask for it, N between 0 and 1'
        yield Problem(("judge.prompt",), message)


def reward_parts_have_usable_names(config: Keys) -> Iterator[Problem]:
    """Names of `reward.parts` are identifiers, and none is `correct`, `overlong` or `second`."""
    for name in config.reward.parts:
        if not (name.isidentifier() and name.isascii()):
            message = f'got "{name}", needed a name of letters, digits and _, as it names a metric: rename the part and set its checker'
            yield Problem((f"reward.parts.{name}",), message)
        if name in TAKEN_NAMES:
            message = f'got "{name}", but {quoted(TAKEN_NAMES)} are reserved for the reward itself: rename the part and set its checker'
            yield Problem((f"reward.parts.{name}",), message)


def multiplied_parts_have_no_weight(config: Keys) -> Iterator[Problem]:
    """A part with `how = "multiply"` leaves `weight` at its default."""
    for name, part in config.reward.parts.items():
        if part.how == "multiply" and not is_default(part, "weight"):
            state = 'with how = "multiply"'
            message = f'{has_no_effect(part.weight, state)}: remove it, or use how = "add"'
            yield Problem((f"reward.parts.{name}.weight", f"reward.parts.{name}.how"), message)


def reward_range_rises(config: Keys) -> Iterator[Problem]:
    """The first number of `reward.range` is below the second."""
    low, high = config.reward.range
    if low >= high:
        yield Problem(
            ("reward.range",),
            f"got [{low}, {high}], needed the reward of a wrong response and a larger one of a correct response: use [0, 1]",
        )


def second_checker_differs(config: Keys) -> Iterator[Problem]:
    """`reward.second` is not `reward.checker`, unless rows (`checker_field`), sources or eval sets name other checkers."""
    reward = config.reward
    others = config.data.own_checkers or config.data.checker_field or any(table.checker_field for table in config.data.tables.values())
    if reward.second == reward.checker and not others:  # rows or sources may name other checkers
        message = f'got "{reward.second}", which is reward.checker too, so the two always agree: name another checker, or remove it'
        yield Problem(("reward.second", "reward.checker"), message)


def services_answer_before_the_deadline(config: Keys) -> Iterator[Problem]:
    """If a service is used, its `timeout_s` × (`retries` + 1) is below `run.deadline_s`."""
    for service, table in services(config):
        longest = table.timeout_s * (table.retries + 1)
        if longest >= config.run.deadline_s and any(checker == service for _, checker in checkers_named(config)):
            message = (
                f"got {table.timeout_s}, with {service}.retries = {table.retries} up to {longest:g} s a response, but run.deadline_s = "
                f"{config.run.deadline_s} ends the run before that: lower timeout_s or retries, or raise run.deadline_s"
            )
            yield Problem((f"{service}.timeout_s", f"{service}.retries", "run.deadline_s"), message)


def thinking_marks_differ_and_are_used(config: Keys) -> Iterator[Problem]:
    """The two `reward.thinking_marks` differ, and are set only where some checker sees the answer alone."""
    reward = config.reward
    if reward.thinking_marks[0].lower() == reward.thinking_marks[1].lower():
        message = f"got {quoted(reward.thinking_marks)}, needed two that differ: what opens a thought, and what ends it"
        yield Problem(("reward.thinking_marks",), message)
    if (
        reward.thinking == "keep"
        and not is_default(reward, "thinking_marks")
        and all(part.see != "answer" for part in reward.parts.values())
    ):
        state = 'with reward.thinking = "keep"'
        message = f'{has_no_effect(list(reward.thinking_marks), state)}: remove it, or set thinking = "strip"'
        yield Problem(("reward.thinking_marks", "reward.thinking"), message)


def see_prefill_needs_a_prefill(config: Keys) -> Iterator[Problem]:
    """`reward.see_prefill = false` comes with a `prefill` in `[data]`, a source or an eval set."""
    if not config.reward.see_prefill and not any([config.data.prefill, *(table.prefill for table in config.data.tables.values())]):
        yield Problem(
            ("reward.see_prefill", "data.prefill"), f"{has_no_effect(False, 'without data.prefill')}: set data.prefill, or remove it"
        )


REWARD_RULES: tuple[Rule, ...] = (
    services_in_use_have_an_address,
    service_addresses_are_valid,
    keys_stay_in_the_environment,
    judge_prompt_has_response_and_score,
    reward_parts_have_usable_names,
    multiplied_parts_have_no_weight,
    reward_range_rises,
    second_checker_differs,
    services_answer_before_the_deadline,
    thinking_marks_differ_and_are_used,
    see_prefill_needs_a_prefill,
)
