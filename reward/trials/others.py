"""Right answers in other words, and near misses, for the checkers of choices, texts, JSON and programs."""

from reward.answers.choice import LETTERS, read_reference
from reward.answers.exact import reference_text
from reward.answers.match import accepted_answers, normal_text
from reward.form.json_schema import gold_json
from reward.programs.code import solution


def choice_in_other_words(reference: object) -> list[str]:
    """The letter in other marks, and the text of its option."""
    letter, options = read_reference(reference)
    said = [
        f"The answer is ({letter}).",
        f"<answer>{letter}</answer>",
        rf"\boxed{{({letter})}}",
        rf"\boxed{{\text{{{letter}}}}}",
        f"**{letter}**",
    ]
    text = options.get(letter, "")
    alone = normal_text(text) and sum(normal_text(other) == normal_text(text) for other in options.values()) == 1
    return [*said, f"<answer>{text}</answer>"] if alone and "<" not in text and "boxed" not in text else said


def choice_near_misses(reference: object) -> list[str]:
    """Another letter, two letters, none."""
    letter, options = read_reference(reference)
    other = next((one for one in (options or LETTERS) if one != letter), "A" if letter == "Z" else "Z")
    return [rf"\boxed{{{other}}}", rf"\boxed{{{letter}, {other}}}", f"The answer is ({other}), not ({letter}).", ""]


def exact_in_other_words(reference: object) -> list[str]:
    """The text with white space around it."""
    return [f"\n {reference_text(reference)} \n"]


def exact_near_misses(reference: object) -> list[str]:
    """The text with a character more or less."""
    text = reference_text(reference)
    return [f"{text}.", text[:-1], f"The answer is {text}"]


def match_in_other_words(reference: object) -> list[str]:
    """Each accepted text in other marks and letters."""
    found = []
    for text in accepted_answers(reference):
        if "\n" not in text:
            found += [rf"\boxed{{{text}}}", f"<answer>{text}</answer>", f"<answer>The {text.upper()}.</answer>"]
    return [one for one in found if "{{" not in one and one.count("{") == one.count("}")]


def match_near_misses(reference: object) -> list[str]:
    """Each accepted text denied, repeated, missing."""
    accepted = accepted_answers(reference)
    wrong = ["", *(f"<answer>not {text}</answer>" for text in accepted), f"<answer>{accepted[0]} {accepted[0]}</answer>"]
    known = {normal_text(text) for text in accepted}
    return [one for one in wrong if normal_text(one.replace("<answer>", "").replace("</answer>", "")) not in known]


def json_in_other_words(reference: object) -> list[str]:
    """The object in a fenced block."""
    gold = gold_json(reference)
    return [] if gold is None else [f"Here it is:\n```json\n{gold}\n```\n"]


def json_near_misses(reference: object) -> list[str]:
    """No object."""
    return ["", "There is no object here"]


def code_in_other_words(reference: object) -> list[str]:
    """The solution in a fenced block within a text."""
    program = solution(reference)
    return [] if not program or "```" in program else [f"This solves it:\n\n```python\n{program}\n```\n\nIt runs in time."]


def code_near_misses(reference: object) -> list[str]:
    """A program that does nothing, of a reference whose own solution passes."""
    return ["```python\npass\n```"] if solution(reference) and not _wants_nothing(reference) else []


def _wants_nothing(reference: object) -> bool:
    """Whether a program that prints nothing could pass; its tests are texts without any expected output."""
    outputs = reference.get("outputs") if isinstance(reference, dict) else None
    return isinstance(outputs, list) and not any(str(one).strip() for one in outputs)
