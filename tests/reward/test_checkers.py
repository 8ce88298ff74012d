"""What the checkers call right and wrong, case by case."""

import subprocess
import sys
from pathlib import Path

import pytest

from reward.checkers import check_reference, get_checker, load_checker
from reward.programs.limits import CodeLimits

exact = get_checker("exact").score


@pytest.mark.parametrize(
    ("response", "reference", "reward"),
    [
        ("42", "42", 1.0),
        (" 42\n", "42", 1.0),
        ("42", "\t42 ", 1.0),
        ("42", 42, 1.0),
        ("0", 0, 1.0),
        ("0", "0", 1.0),
        ("", 0, 0.0),
        ("00", 0, 0.0),
        ("0.5", 0.5, 1.0),
        ("42.0", 42, 0.0),
        ("-1", -1, 1.0),
        ("", "42", 0.0),
        ("Paris", "paris", 0.0),
        ("the answer is 42", "42", 0.0),
        ("4 2", "42", 0.0),
        ("naïve", "naïve", 1.0),
        ("nai\u0308ve", "naïve", 0.0),
        ("答案\u3000", "答案", 1.0),
        ("\ud800", "42", 0.0),
    ],
)
def test_exact_compares_letters_and_forgives_outer_white_space(response: str, reference: object, reward: float) -> None:
    assert exact(response, reference) == reward


@pytest.mark.parametrize("name", ["exact", "math"])
@pytest.mark.parametrize("reference", [None, "", "  ", True, [1], {"a": 1}, float("nan"), float("inf")])
def test_a_reference_of_the_wrong_kind_is_an_error_not_a_wrong_answer(name: str, reference: object) -> None:
    with pytest.raises(ValueError, match=f"checker '{name}': reference must"):
        check_reference(name, reference)
    with pytest.raises(ValueError, match="reference must"):
        get_checker(name).score("42", reference)


@pytest.mark.parametrize("reference", ["0", 0, 0.0, -1, "\\frac12", "#### 5"])
def test_a_good_reference_passes(reference: object) -> None:
    for name in ("exact", "match", "math"):
        check_reference(name, reference)


def test_users_functions_take_any_json_as_reference() -> None:
    check_reference("tests.toys.bad_checkers:is_reference", {"answers": [1, "two", None]})
    with pytest.raises(ValueError, match="not JSON serializable"):
        check_reference("tests.toys.bad_checkers:is_reference", object())


def test_an_unknown_checker_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match=r"unknown checker 'maths': use one of .*exact.* or .* did you mean 'math'\?"):
        get_checker("maths")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("tests.toys.bad_checkers:", "lacks the function: write"),
        (":echo", "lacks the module or file: write"),
        ("rewards/score:echo", r"names a path that does not end in \.py: write"),
        ("score.ipynb:echo", r"names a path that does not end in \.py: write"),
    ],
)
def test_a_name_of_no_function_is_refused_before_anything_is_imported(path: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        get_checker(path)


def test_a_file_without_its_function_is_met_with_how_to_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_reward.py").touch()
    monkeypatch.chdir(tmp_path)
    for name in ("my_reward", "my_reward.py"):
        with pytest.raises(
            ValueError, match=r"unknown checker .*; of the file my_reward\.py name the function too: 'my_reward\.py:FUNCTION'"
        ):
            get_checker(name)


def test_a_users_function_is_found_by_its_import_path() -> None:
    assert load_checker("tests.toys.bad_checkers:echo", CodeLimits())("7", None) == 7.0


def test_importing_the_checkers_imports_nothing_heavy() -> None:
    heavy = "'asyncio', 'pydantic', 'mpmath', 'numpy', 'torch', 'jsonschema', 'py3langid'"
    code = f"import sys, reward.checkers; print(sorted({{{heavy}}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
