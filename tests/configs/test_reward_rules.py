"""Rules between the keys of rewards and services."""

import pytest

from configs.loader import dump, load
from tests.configs.test_configs import config_with, refusal, sole_refusal, write

JUDGE = ("judge.url='http://127.0.0.1:8000/v1'", "judge.model=grader")
SECRET = "sk-notForAnyLog"


@pytest.mark.parametrize(
    ("asking", "key"),
    [
        ("reward.checker=http", "reward.checker"),
        ("reward.second=http", "reward.second"),
        ("reward.parts={taste={checker='http'}}", "reward.parts.taste"),
        ("reward.parts={http={weight=0.5}}", "reward.parts.http"),
    ],
)
def test_a_service_that_is_asked_needs_its_address(asking: str, key: str) -> None:
    assert sole_refusal(asking).startswith(f'command line: http.url: missing, but {key} asks the checker "http": give the address')
    assert config_with(asking, "http.url='https://checker.example/score'").http.url == "https://checker.example/score"


def test_a_judge_that_is_asked_needs_a_model_too() -> None:
    assert [line.split(": ")[1] for line in refusal("reward.checker=judge")] == ["judge.url", "judge.model"]
    assert "judge.model: missing" in sole_refusal("reward.checker=judge", JUDGE[0])
    config_with("reward.checker=judge", *JUDGE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "needed http:// or https:// and a host"),
        ("localhost:8000/v1", "needed http:// or https:// and a host"),
        ("ftp://host/v1", "needed http:// or https:// and a host"),
        ("http:///v1", "needed http:// or https:// and a host"),
        ("http://ho st/v1", "needed http:// or https:// and a host"),
        ("http://höst/v1", "needed http:// or https:// and a host"),
        ("http://host:port/v1", "which is no address"),
        ("http://[::1/v1", "which is no address"),
        ("http://host/v1#part", "without #"),
        ("http://host/v1/chat/completions/", 'is added to it: write "http://host/v1"'),
    ],
)
def test_an_address_that_is_none_is_refused_with_one_that_would_do(url: str, said: str) -> None:
    line = sole_refusal(f'judge.url="{url}"')
    assert f'judge.url: got "{url}"' in line
    assert said in line


@pytest.mark.parametrize("service", ["judge", "http"])
@pytest.mark.parametrize(
    "given",
    [
        f"url='https://me:{SECRET}@host/v1'",
        f"url='https://{SECRET}@host'",
        f"url='http://me:{SECRET}@h:999999/v1'",
        f"url='http://me:{SECRET}@[::1/v1'",
        f"url='me:{SECRET}@h/v1'",
        f"url='http:/me:{SECRET}@h/v1'",
        f"url='http://me:a/{SECRET}@h/v1'",
        f"url='http://h/v1?token={SECRET}'",
        f"url='http://h:999999/v1?token={SECRET}'",
        f"url='http://me:a?{SECRET}@h/v1'",
        f"url='http://me:a#{SECRET}@h/v1'",
        f"key_env='{SECRET}'",
    ],
)
def test_a_key_in_the_config_is_sent_to_the_environment_and_never_shown(service: str, given: str) -> None:
    line = sole_refusal(f"{service}.{given}")
    assert "(not shown" in line
    assert f"{service}.key_env" in line
    assert SECRET not in line


def test_a_variable_that_holds_the_key_is_named() -> None:
    assert config_with("judge.key_env=OPENAI_API_KEY").judge.key_env == "OPENAI_API_KEY"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("Grade it. score: N", "has no {response}, so there is nothing to grade"),
        ("{response} {answer} score: N", "got the unknown placeholder {answer}: use {prompt}, {reference}, {response}"),
        ("{response} Grade it.", 'does not contain "score:"'),
    ],
)
def test_a_judge_prompt_that_could_not_work_is_refused(prompt: str, said: str) -> None:
    assert f"judge.prompt: {said}" in sole_refusal(f"judge.prompt='{prompt}'")


def test_a_judge_prompt_may_have_other_braces() -> None:
    config_with("""judge.prompt='{"like": {}} {0} { response } {response} Score: N'""")


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("{wieght=0.5}", "reward.parts.form.wieght: unknown key (got 0.5); did you mean weight?"),
        ("{colour=1}", "reward.parts.form.colour: unknown key (got 1); use one of checker, weight, how, reference"),
        ("{weight='a'}", 'reward.parts.form.weight: got "a"; needed a number'),
        ("{how='mul'}", 'reward.parts.form.how: got "mul"; needed one of "add", "multiply"'),
        ("0.2", "reward.parts.form: got 0.2; needed a table: write [reward.parts.form]"),
    ],
)
def test_a_mistake_inside_a_part_is_told_by_its_own_key(part: str, said: str) -> None:
    assert said in sole_refusal(f"reward.parts={{form={part}}}")


@pytest.mark.parametrize("name", ["correct", "overlong", "second"])
def test_a_part_does_not_take_a_name_that_the_reward_uses(name: str) -> None:
    assert f'reward.parts.{name}: got "{name}", but "correct", "overlong", "second" are reserved' in sole_refusal(
        f"reward.parts={{{name}={{checker='exact'}}}}"
    )


@pytest.mark.parametrize("name", ["two words", "a-b", "a/b", "1st", "", "länge"])
def test_a_part_has_a_name_that_a_metric_can_have(name: str) -> None:
    assert f'got "{name}", needed a name of letters, digits and _' in sole_refusal(f"reward.parts={{\"{name}\"={{checker='exact'}}}}")


def test_a_weight_without_an_effect_is_refused() -> None:
    assert "reward.parts.form.weight: got 0.5 with how = " in sole_refusal(
        "reward.parts={form={checker='exact', how='multiply', weight=0.5}}"
    )
    config_with("reward.parts={form={checker='exact', how='multiply'}, length={checker='exact', weight=-0.5}}")


@pytest.mark.parametrize("given", ["[1, 0]", "[1, 1]", "[0.5, -0.5]"])
def test_the_range_of_a_reward_rises(given: str) -> None:
    assert f"reward.range: got {given}, needed" in sole_refusal(f"reward.range={given}")
    config_with("reward.range=[-1, 1]")


def test_a_second_checker_differs_from_the_first() -> None:
    assert 'reward.second: got "math", which is reward.checker too' in sole_refusal("reward.second=math")
    config_with("reward.second=math", "data.checker_field=kind")


def test_a_service_in_use_answers_or_fails_before_the_run_ends() -> None:
    slow = ("http.url='http://127.0.0.1:9'", "http.timeout_s=120")
    line = sole_refusal("reward.checker=http", *slow)
    assert "http.timeout_s: got 120, with http.retries = 4 up to 600 s a response, but run.deadline_s = 600" in line
    config_with(*slow)
    config_with("reward.checker=http", "run.deadline_s=601", *slow)


def test_a_config_with_all_of_it_survives_being_kept(tmp_path) -> None:
    whole = config_with(
        "reward.checker=judge",
        "reward.second=http",
        "reward.range=[-1, 1]",
        "reward.parts={form={checker='exact', how='multiply', reference='a'}, taste={checker='http', weight=0.5}}",
        "http.url='http://127.0.0.1:9'",
        "http.budget=100",
        *JUDGE,
    )
    assert load(write(tmp_path, dump(whole))) == whole
