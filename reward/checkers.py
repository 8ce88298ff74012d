"""The table of checkers by name: each is a pure function that scores a response.

A name of the form "package.module:function" is a user's own function of (response, reference). `SERVICES` are asked over the
network, by `reward.services.services`.
"""

import difflib
import importlib
import inspect
import json
from collections.abc import Callable

from reward.answers.choice import check_choice, gold_choice
from reward.answers.choice import read_reference as choice_reference
from reward.answers.exact import check_exact, reference_text
from reward.answers.match import accepted_answers, check_match, gold_match
from reward.answers.mathematics import check_math, gold_math, reference_answer
from reward.checker import Checker, Score
from reward.form.instructions import check_instructions, instructions_reference
from reward.form.json_schema import check_json, gold_json, json_reference
from reward.form.language import check_language, language_reference
from reward.form.length import check_length, gold_length, length_reference
from reward.form.regular_expression import check_regex, regex_reference
from reward.form.tags import check_tags, gold_tags, tags_reference
from reward.json_value import check_json_value
from reward.programs.code import check_code, check_tests, load_code, solution
from reward.programs.limits import CodeLimits


def _no_gold(reference: object) -> None:
    """The reference describes right responses but determines none."""


WARM_MATH = [  # an answer of each kind: the first of a kind fills caches, which the workers then share
    (r"\boxed{17}", "17"),
    ("so it is\n#### 18", "19"),
    (r"\boxed{\frac{3}{7}}", "3/7"),
    (r"\boxed{x+5}", "5+x"),
    (r"\boxed{x^2+29x+31}", "31+29x+x^2"),
    (r"\boxed{2\sqrt{3}+\sin(x)}", r"\sqrt{12}+\sin x"),
    (r"\boxed{x=3}", "3"),
    (r"\boxed{(1,2]}", "(1,2]"),
    (r"\boxed{\{1,2,3\}}", r"\{3,2,1\}"),
    (r"\boxed{\begin{pmatrix}1&2\\3&4\end{pmatrix}}", r"\begin{pmatrix}1&2\\3&4\end{pmatrix}"),
    ("the answer is 12.5 percent", r"12.5\%"),
]
CHECKERS: dict[str, Checker] = {
    "code": Checker(score=check_code, check_reference=check_tests, gold=solution, load=load_code),
    "exact": Checker(score=check_exact, check_reference=reference_text, gold=reference_text),
    "math": Checker(
        score=check_math,
        check_reference=reference_answer,
        gold=gold_math,
        warm_up=WARM_MATH,
        rehearsal=(r"\boxed{x+317}", "317+x"),
    ),
    "match": Checker(score=check_match, check_reference=accepted_answers, gold=gold_match),
    "choice": Checker(score=check_choice, check_reference=choice_reference, gold=gold_choice),
    "tags": Checker(score=check_tags, check_reference=tags_reference, gold=gold_tags),
    "regex": Checker(score=check_regex, check_reference=regex_reference, gold=_no_gold),
    "length": Checker(score=check_length, check_reference=length_reference, gold=gold_length),
    "language": Checker(
        score=check_language, check_reference=language_reference, gold=_no_gold, warm_up=[("This is a sentence in English.", "en")]
    ),
    "json": Checker(score=check_json, check_reference=json_reference, gold=gold_json, warm_up=[("{}", {"schema": {"required": ["a"]}})]),
    "instructions": Checker(
        score=check_instructions,
        check_reference=instructions_reference,
        gold=_no_gold,
        warm_up=[("this is a sentence in english.", [{"id": "change_case:english_lowercase"}])],
    ),
}
SERVICES: dict[str, Callable[[object], None]] = {  # by name, the function that refuses a bad reference
    "http": check_json_value,
    "judge": check_json_value,
}


def known_checkers() -> list[str]:
    """The names that a row may give."""
    return sorted([*CHECKERS, *SERVICES])


def checkers_for_data(own: str) -> list[str]:
    """The names that data may give where the user has chosen the checker `own`; data may name no other code to run here."""
    return sorted({*known_checkers(), own})


def get_checker(name: str) -> Checker:
    """The checker of that name or import path; ValueError lists the names, or says why the path cannot be used."""
    if name in CHECKERS:
        return CHECKERS[name]
    if ":" in name:
        return Checker(score=_import_function(name), check_reference=_is_json, gold=_no_gold)
    near = difflib.get_close_matches(name, known_checkers(), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown checker {name!r}: use one of {', '.join(known_checkers())} or 'package.module:function'{hint}")


def warm_checker(name: str) -> None:
    """Import and compile what the checker of that name needs; a fork can share the result."""
    checker = get_checker(name)
    for response, reference in checker.warm_up:
        checker.score(response, reference)


def load_checker(name: str, limits: CodeLimits) -> Score:
    """The `score` of that name for this process alone, with all its imports done."""
    warm_checker(name)
    return own_score(name, limits)


def own_score(name: str, limits: CodeLimits) -> Score:
    """The `score` of a warm checker for this process alone: forked workers must not share one sandbox."""
    checker = get_checker(name)
    return checker.score if checker.load is None else checker.load(limits)


def check_reference(name: str, reference: object) -> None:
    """Raise ValueError when the checker of that name cannot compare with this reference, whatever the response."""
    refuse = SERVICES[name] if name in SERVICES else get_checker(name).check_reference
    try:
        refuse(reference)
    except (TypeError, ValueError) as error:
        raise ValueError(f"checker {name!r}: {error}") from error


def _is_json(reference: object) -> None:
    json.dumps(reference, allow_nan=False)


def _import_function(path: str) -> Score:
    module_name, _, function_name = path.partition(":")
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:  # a user's module may fail to import in any way
        raise ValueError(f"checker {path!r} does not import: {type(error).__name__}: {error}") from error
    try:
        inspect.signature(function).bind("response", "reference")
    except (TypeError, ValueError) as error:
        raise ValueError(f"checker {path!r} must be a function of (response, reference): {error}") from error
    if inspect.isclass(function) or inspect.iscoroutinefunction(function):
        raise ValueError(
            f"checker {path!r} must be a plain function that returns a number, got {type(function).__name__} {function!r:.100}"
        )
    score: Score = function
    return score
