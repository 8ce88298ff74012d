"""The table of checkers by name: each is a pure function that scores a response.

A name with a colon, "package.module:function" or "path/to/file.py:function", is a user's own function of what its parameters name:
`reward.own`. `SERVICES` are asked over the network, by `reward.services.services`.
"""

import difflib
from collections.abc import Callable

from configs.digits import any_digits
from configs.home import expanded
from configs.no_reward import NO_REWARD
from configs.tool_names import PYTHON
from reward.answers.choice import check_choice, gold_choice
from reward.answers.choice import read_reference as choice_reference
from reward.answers.exact import check_exact, reference_text
from reward.answers.match import accepted_answers, check_match, gold_match
from reward.answers.mathematics import check_math, gold_math, not_understood, reference_answer
from reward.checker import Checker, Score
from reward.form.instructions import check_instructions, instructions_reference
from reward.form.json_schema import check_json, gold_json, json_reference
from reward.form.language import check_language, language_reference
from reward.form.length import check_length, gold_length, length_reference
from reward.form.regular_expression import check_regex, regex_reference
from reward.form.tags import check_tags, gold_tags, tags_reference
from reward.json_value import check_json_value
from reward.own.brought import check_is_json, plain_gold
from reward.own.function import OwnFunction
from reward.own.name import FORMS, OwnName, is_own
from reward.own.tool import OwnTool
from reward.pool_tool import TOOL, PoolTool
from reward.programs.code import check_code, check_tests, load_code, solution
from reward.programs.limits import CodeLimits
from reward.programs.python_tool import load_python
from reward.trials import others
from reward.trials.math import math_in_other_words, math_near_misses


def _nothing(response: str, reference: object) -> float:
    """No reward: for runs that learn from a reference policy alone."""
    return 0.0


def _anything(reference: object) -> None:
    """Every reference is accepted, and a missing one."""


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
    "code": Checker(
        score=check_code,
        check_reference=check_tests,
        gold=solution,
        other_words=others.code_in_other_words,
        near_misses=others.code_near_misses,
        load=load_code,
    ),
    "exact": Checker(
        score=check_exact,
        check_reference=reference_text,
        gold=reference_text,
        other_words=others.exact_in_other_words,
        near_misses=others.exact_near_misses,
    ),
    "math": Checker(
        score=check_math,
        check_reference=reference_answer,
        gold=gold_math,
        not_understood=not_understood,
        other_words=math_in_other_words,
        near_misses=math_near_misses,
        warm_up=WARM_MATH,
        rehearsal=(r"\boxed{x+317}", "317+x"),
    ),
    "match": Checker(
        score=check_match,
        check_reference=accepted_answers,
        gold=gold_match,
        other_words=others.match_in_other_words,
        near_misses=others.match_near_misses,
    ),
    "choice": Checker(
        score=check_choice,
        check_reference=choice_reference,
        gold=gold_choice,
        other_words=others.choice_in_other_words,
        near_misses=others.choice_near_misses,
    ),
    "tags": Checker(score=check_tags, check_reference=tags_reference, gold=gold_tags),
    "regex": Checker(score=check_regex, check_reference=regex_reference, gold=_no_gold),
    "length": Checker(score=check_length, check_reference=length_reference, gold=gold_length),
    "language": Checker(
        score=check_language, check_reference=language_reference, gold=_no_gold, warm_up=[("This is a sentence in English.", "en")]
    ),
    "json": Checker(
        score=check_json,
        check_reference=json_reference,
        gold=gold_json,
        other_words=others.json_in_other_words,
        near_misses=others.json_near_misses,
        warm_up=[("{}", {"schema": {"required": ["a"]}})],
    ),
    NO_REWARD: Checker(score=_nothing, check_reference=_anything, gold=_no_gold),
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


def refuse_unknown(name: str) -> None:
    """Raise ValueError where no checker, service or function can have that name; imports nothing of the user's."""
    if is_own(name):
        OwnName.read(name)
    elif name not in CHECKERS and name not in SERVICES:
        near = difflib.get_close_matches(name, known_checkers(), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        if (file := expanded(name if name.endswith(".py") else f"{name}.py")).is_file():
            hint = f"; of the file {file} name the function too: '{file}:FUNCTION'"
        raise ValueError(f"unknown checker {name!r}: use one of {', '.join(known_checkers())} or {FORMS}{hint}")


def get_checker(name: str) -> Checker:
    """The checker of that name or import path, whose code `warm_checker` or the first call imports; ValueError lists the names."""
    if name in CHECKERS:
        return CHECKERS[name]
    if name.startswith(TOOL):
        return tool_named(name.removeprefix(TOOL))
    refuse_unknown(name)
    if name in SERVICES:
        raise ValueError(f"checker {name!r} is a service, which is asked over the network and scores in no process of ours")
    return Checker(score=OwnFunction(name), check_reference=check_is_json, gold=plain_gold)


def tool_named(entry: str) -> Checker:
    """The tool of an entry of `tools.use`, as the workers load it beside checkers."""
    if entry == PYTHON:
        return Checker(score=_nothing, check_reference=_anything, gold=_no_gold, load=load_python)
    return Checker(score=OwnTool(entry), check_reference=_anything, gold=_no_gold)


def warm_checker(name: str) -> Checker:
    """The checker of that name, with everything that it needs imported and compiled; a fork can share the result."""
    checker = get_checker(name)
    if isinstance(checker.score, OwnFunction):
        checker.score.load()
        checker.score.warm_up()
    if isinstance(checker.score, PoolTool):
        checker.score.load()
    for response, reference in checker.warm_up:
        checker.score(response, reference)
    return checker


def load_checker(name: str, limits: CodeLimits) -> Score:
    """The `score` of that name for this process alone, with all its imports done."""
    warm_checker(name)
    return own_score(name, limits)


def own_score(name: str, limits: CodeLimits) -> Score:
    """The `score` of a warm checker for this process alone: forked workers must not share one sandbox."""
    checker = get_checker(name)
    if isinstance(checker.score, OwnFunction):
        checker.score.load()
    return checker.score if checker.load is None else checker.load(limits)


def check_reference(name: str, reference: object) -> None:
    """Raise ValueError when the checker of that name cannot compare with this reference, whatever the response."""
    refuse = SERVICES[name] if name in SERVICES else get_checker(name).check_reference
    try:
        with any_digits():
            refuse(reference)
    except (TypeError, ValueError) as error:
        raise ValueError(f"checker {name!r}: {error}") from error
