"""What a function of the user's asks for, read from its signature: each parameter gets the field of its name.

The first two parameters with other names are the response and the reference, so `score(text, truth)` works too. An environment, a
function that yields, gets what the model said in its first turn as its response, and may call it `said`. An agent, a function that asks
for `base_url` and `api_key`, gets the question in its place.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from inspect import Parameter
from typing import Any

from reward.own.name import OwnCodeError

FIELDS = ("response", "reference", "prompt", "question", "row", "tokens", "truncated", "group", "index", "seed")
FIRST = ("response", "reference")
SAID = "said"  # what an environment calls its response
DOOR = ("base_url", "api_key")  # what an agent asks for: where it asks for turns of the model, and as whom
AT_THE_END = ("tokens", "truncated", "group")  # nobody knows them while an episode goes on
# What other frameworks call a field.
ELSEWHERE = {
    "completion": "response",
    "completions": "response",
    "solution_str": "response",
    "output": "response",
    "prompts": "prompt",
    "ground_truth": "reference",
    "label": "reference",
    "labels": "reference",
    "answer": "reference",
    "extra_info": "row",
    "data_source": "row",
    "columns": "row",
    "metadata": "row",
    "completion_ids": "tokens",
    "token_ids": "tokens",
    "completions_ids": "tokens",
    "responses": "group",
    "rollouts": "group",
}
ANY = "*"  # stands for what *arguments takes
BY_PLACE = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
ANY_NUMBER = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A parameter's own default, which a positional call must repeat to reach the parameters after it."""

    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How to call a function: with which fields by place, and with which by name."""

    places: tuple[str | Fixed, ...] = FIRST
    names: Mapping[str, str] = field(default_factory=dict)  # parameter -> field

    @property
    def asks(self) -> list[str]:
        """The fields that it asks for beside response and reference, in the order of FIELDS."""
        asked = {*(place for place in self.places if isinstance(place, str)), *self.names.values()}
        return [name for name in (*FIELDS, *DOOR) if name in asked and name not in FIRST]

    def make(self, function: Callable[..., object], fields: Mapping[str, Any]) -> object:
        """Call the function; KeyError names a field that is not among `fields`."""
        places = [place.value if isinstance(place, Fixed) else fields[place] for place in self.places]
        return function(*places, **{name: fields[wanted] for name, wanted in self.names.items()})


def call_of(whole: str, function: Callable[..., object], *, yields: bool = False) -> Call:
    """How to call the function that the checker `whole` names; OwnCodeError where it asks for what nobody has.

    yields: it is an environment, which is called before its episode is over.
    """
    try:
        signature = signature_of(function)
    except (ValueError, TypeError):  # functions written in C may have none; the first call will tell
        return Call()
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    parameters = [one for one in signature.parameters.values() if one.name not in fixed]
    meaning = meanings(parameters, {SAID: "response"} if yields else {})
    if any(name in meaning.values() for name in DOOR):
        meaning = meaning_for_an_agent(whole, signature, meaning, yields)
    if yields:
        refuse_what_is_known_at_the_end(whole, signature, meaning)
    if unknown := [one for one in parameters if is_needed(one) and one.name not in meaning]:
        raise OwnCodeError(f"checker {whole!r} takes {signature}, {describe(unknown[0].name, yields)}")
    if not meaning:
        raise OwnCodeError(f"checker {whole!r} takes {signature}, needed a parameter that gets the response: write (response, reference)")
    for call in (by_place(parameters, meaning), Call(places=(), names=meaning)):
        if fits(function, call):
            return call
    raise OwnCodeError(
        f"checker {whole!r} takes {signature}, but its decorator takes {inspect.signature(function, follow_wrapped=False)}, to which "
        f"{', '.join(meaning.values())} cannot be passed: have the decorator pass on *args and **kwargs"
    )


def signature_of(function: Callable[..., object]) -> inspect.Signature:
    """The parameters that a call may give: a decorator's own, or those of the function in it where the decorator passes on any."""
    outer = inspect.signature(function, follow_wrapped=False)
    passes_on = any(one.kind in ANY_NUMBER for one in outer.parameters.values())
    return inspect.signature(function) if passes_on else outer


def refuse_what_is_known_at_the_end(whole: str, signature: inspect.Signature, meaning: Mapping[str, str]) -> None:
    """Raise OwnCodeError where an environment asks for what is known when its episode is over."""
    if late := [name for name in AT_THE_END if name in meaning.values()]:
        raise OwnCodeError(
            f"checker {whole!r} takes {signature}, but it has a `yield`, so it is an environment, and {', '.join(late)} cannot be known "
            f"before the episode is over: remove the parameter; an environment may ask for {', '.join(fields_of(yields=True))}"
        )


def meaning_for_an_agent(whole: str, signature: inspect.Signature, meaning: Mapping[str, str], yields: bool) -> dict[str, str]:
    """What the parameters of an agent get: the first one the question, as there is no response before it has asked for one.

    OwnCodeError where it yields, lacks a half of what it needs to ask for turns, or asks for what nobody knows before its end.
    """
    got = f"checker {whole!r} takes {signature}, so it is an agent"
    if yields:
        raise OwnCodeError(f"{got}, but it has a `yield`: ask the model at base_url, or yield words and remove {' and '.join(DOOR)}")
    if missing := [name for name in DOOR if name not in meaning.values()]:
        raise OwnCodeError(f"{got}, needed both {' and '.join(DOOR)}: add {missing[0]}")
    late = [name for name in AT_THE_END if name in meaning.values()]
    if late or meaning.get("response") == "response":
        raise OwnCodeError(
            f"{got}, and {(late or ['response'])[0]} cannot be known before it has returned: remove the parameter; an agent may ask for "
            f"{', '.join(name for name in (*FIELDS, *DOOR) if name not in (*AT_THE_END, 'response', 'group'))}"
        )
    return {name: "question" if field == "response" else field for name, field in meaning.items()}


def fields_of(*, yields: bool) -> list[str]:
    """The names that a function's parameters may have."""
    return [SAID, *(name for name in FIELDS[1:] if name not in AT_THE_END)] if yields else list(FIELDS)


def meanings(parameters: list[Parameter], others: Mapping[str, str]) -> dict[str, str]:
    """Which field each parameter gets, by the parameter's name; those left out keep their defaults. `others`: further names."""
    some = [one for one in parameters if one.kind in BY_PLACE]
    rest = any(one.kind is Parameter.VAR_POSITIONAL for one in parameters)
    known = {**{name: name for name in (*FIELDS, *DOOR)}, **others}
    named = {one.name: known[one.name] for one in parameters if one.name in known and one.kind not in ANY_NUMBER}
    first = dict(zip((one.name for one in some), FIRST, strict=False))
    if (len(first) == len(FIRST) or rest) and all(known.get(name, meant) == meant for name, meant in first.items()):
        by_position = {ANY: "reference"} if rest and len(first) < len(FIRST) and "reference" not in named.values() else {}
        return named | first | by_position  # as (response, reference), whatever the names
    there = named.values()
    missing = [name for name in FIRST if name not in there] if len(some) == len(FIRST) or "response" not in there else []
    free = [one.name for one in some if one.name not in named and one.default is Parameter.empty]
    return named | dict(zip(free, missing, strict=False))


def by_place(parameters: list[Parameter], meaning: Mapping[str, str]) -> Call:
    """Pass fields by place as far as they go without a gap, the rest by name."""
    places: list[str | Fixed] = []
    names: dict[str, str] = {}
    only = [one.name in meaning for one in parameters if one.kind is Parameter.POSITIONAL_ONLY]
    reach = len(only) - only[::-1].index(True) if True in only else 0
    gap = False
    for place, one in enumerate(parameters):
        if place < reach and one.name not in meaning:
            places.append(Fixed(one.default))
        elif one.name in meaning and one.kind in BY_PLACE and not gap:
            places.append(meaning[one.name])
        elif one.name in meaning:
            names[one.name] = meaning[one.name]
        else:
            gap = gap or one.kind in BY_PLACE
    if ANY in meaning:
        places += FIRST[len(places) : 2]
    return Call(places=tuple(places), names=names)


def fits(function: Callable[..., object], call: Call) -> bool:
    """Whether the function, decorator included, takes the call."""
    try:
        inspect.signature(function, follow_wrapped=False).bind(*call.places, **call.names)
    except TypeError:
        return False
    return ANY not in call.names


def is_needed(parameter: Parameter) -> bool:
    return parameter.default is Parameter.empty and parameter.kind not in ANY_NUMBER


def describe(unknown: str, yields: bool = False) -> str:
    """What to do about a parameter that no field has the name of."""
    fields = fields_of(yields=yields)
    near = ELSEWHERE.get(unknown) or next(iter(get_close_matches(unknown, fields, 1)), "")
    hint = f"; did you mean {near}?" if near in fields else ";"
    first = f"{SAID if yields else FIRST[0]} and {FIRST[1]}"
    return (
        f"but no field is called {unknown!r}{hint} a function gets what its parameters name: {', '.join(fields)} (the first two with other "
        f"names are {first}): rename it, give it a default, or, for a column of the data, ask for row and set "
        f'data.keep_fields = ["{unknown}"]'
    )
