"""The rules for `[reward]`, `[judge]` and `[http]`: what has no address, what would have no effect, what would leak."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from configs.keys import Keys
from configs.reward import JUDGE_PLACEHOLDERS, EndpointConfig
from configs.rules.common import Problem, Rule, quoted

TAKEN_NAMES = ("correct", "overlong", "second")  # what the reward itself keeps beside the parts
KEPT_UNLESS_ASKED = 8  # the default of reward.keep_disagreements
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def services(config: Keys) -> tuple[tuple[str, EndpointConfig], ...]:
    return ("judge", config.judge), ("http", config.http)


def checkers_named(config: Keys) -> Iterator[tuple[str, str]]:
    """Every checker that the config names, with the key that does."""
    yield "reward.checker", config.reward.checker
    if config.reward.second is not None:
        yield "reward.second", config.reward.second
    for name, part in config.reward.parts.items():
        yield f"reward.parts.{name}", part.checker or name


def services_in_use_have_an_address(config: Keys) -> Iterator[Problem]:
    for service, table in services(config):
        if (key := next((key for key, checker in checkers_named(config) if checker == service), None)) is None:
            continue
        if table.url is None:
            message = f'missing, but {key} asks the checker "{service}": give the address of the service, or take another checker'
            yield Problem((f"{service}.url", key), message)
        if service == "judge" and config.judge.model is None:
            message = f'missing, but {key} asks the checker "judge": name the model that the endpoint is to use'
            yield Problem(("judge.model", key), message)


def addresses_of_services_are_whole(config: Keys) -> Iterator[Problem]:
    for service, table in services(config):
        if table.url is not None and (wrong := wrong_with_address(service, table.url)):
            yield Problem((f"{service}.url",), wrong)


def wrong_with_address(service: str, url: str) -> str | None:
    """Why that is no address for the service, and what to write; None where it is one."""
    like = "http://127.0.0.1:8000/v1" if service == "judge" else "https://checker.example/score"
    if what := next((what for mark, what in (("@", "a password"), ("?", "?…")) if mark in url), None):  # no other message may show it
        return (
            f"got an address with {what} (not shown, as it may hold a key), which run.dir/config.toml would keep: remove it, and put a key "
            f"into the environment variable named by {service}.key_env"
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
    for service, table in services(config):
        if table.key_env is not None and not VARIABLE.fullmatch(table.key_env):
            message = (
                "got what cannot be the name of an environment variable (not shown, as it may be the key itself): export the key, for "
                f'example as {service.upper()}_KEY, and write key_env = "{service.upper()}_KEY"'
            )
            yield Problem((f"{service}.key_env",), message)


def judge_prompt_shows_the_response_and_asks_for_a_score(config: Keys) -> Iterator[Problem]:
    prompt = config.judge.prompt
    needed = ", ".join(f"{{{name}}}" for name in JUDGE_PLACEHOLDERS)
    if "{response}" not in prompt:
        yield Problem(("judge.prompt",), f"has no {{response}}, so there would be nothing to grade: put it in (known are {needed})")
    if unknown := [name for name in re.findall(r"\{([A-Za-z_]\w*)\}", prompt) if name not in JUDGE_PLACEHOLDERS]:
        yield Problem(("judge.prompt",), f"got the unknown placeholder {{{unknown[0]}}}: use {needed}; other braces may stand as they are")
    if "score:" not in prompt.lower():
        message = 'never speaks of "score:", but the judge\'s last line must be "score: N": ask for it, N between 0 and 1'
        yield Problem(("judge.prompt",), message)


def parts_of_the_reward_are_named_apart(config: Keys) -> Iterator[Problem]:
    for name in config.reward.parts:
        if not (name.isidentifier() and name.isascii()):
            message = f'got "{name}", needed a name of letters, digits and _, as it names a metric: rename the part and set its checker'
            yield Problem((f"reward.parts.{name}",), message)
        if name in TAKEN_NAMES:
            message = f'got "{name}", but {quoted(TAKEN_NAMES)} are kept for the reward itself: rename the part and set its checker'
            yield Problem((f"reward.parts.{name}",), message)


def multiplied_parts_have_no_weight(config: Keys) -> Iterator[Problem]:
    for name, part in config.reward.parts.items():
        if part.how == "multiply" and part.weight != 1:
            message = f'got {part.weight} with how = "multiply", so it would do nothing: remove it, or use how = "add"'
            yield Problem((f"reward.parts.{name}.weight", f"reward.parts.{name}.how"), message)


def range_of_the_reward_rises(config: Keys) -> Iterator[Problem]:
    low, high = config.reward.range
    if low >= high:
        yield Problem(("reward.range",), f"got [{low}, {high}], needed what wrong is worth and, above it, what right is worth: use [0, 1]")


def second_checker_is_another(config: Keys) -> Iterator[Problem]:
    reward = config.reward
    if reward.second == reward.checker and config.data.checker_field is None:  # rows may name other checkers
        message = f'got "{reward.second}", which is reward.checker: it would agree with itself. Name another checker, or remove it'
        yield Problem(("reward.second", "reward.checker"), message)
    if reward.second is None and reward.keep_disagreements != KEPT_UNLESS_ASKED:
        message = f"got {reward.keep_disagreements} without reward.second, so it would do nothing: set reward.second, or remove it"
        yield Problem(("reward.keep_disagreements", "reward.second"), message)


def services_answer_before_the_deadline(config: Keys) -> Iterator[Problem]:
    for service, table in services(config):
        longest = table.timeout_s * (table.retries + 1)
        if longest >= config.run.deadline_s and any(checker == service for _, checker in checkers_named(config)):
            message = (
                f"got {table.timeout_s}, with {service}.retries = {table.retries} up to {longest:g} s a response, but run.deadline_s = "
                f"{config.run.deadline_s} ends the run before: lower timeout_s or retries, or raise run.deadline_s"
            )
            yield Problem((f"{service}.timeout_s", f"{service}.retries", "run.deadline_s"), message)


REWARD_RULES: tuple[Rule, ...] = (
    services_in_use_have_an_address,
    addresses_of_services_are_whole,
    keys_stay_in_the_environment,
    judge_prompt_shows_the_response_and_asks_for_a_score,
    parts_of_the_reward_are_named_apart,
    multiplied_parts_have_no_weight,
    range_of_the_reward_rises,
    second_checker_is_another,
    services_answer_before_the_deadline,
)
