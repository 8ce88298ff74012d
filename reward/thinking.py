"""Where a response stops thinking and answers: `reward.thinking` and `reward.thinking_marks`.

```
<think> draft </think> The answer is 4.      checkers see "The answer is 4."
draft </think> The answer is 4.              the same: the thought began before the response
<think> draft                                unfinished: no answer
```
"""

import re
from functools import cache

from reward.given import given

Marks = tuple[str, str]  # what opens a thought, and what ends it
# Code that an answer quotes: a fence, also an unclosed one, or words between backticks.
CODE = (
    r"(?:^[ \t]{0,3}(?P<fence>`{3,}+|~{3,}+)[^\n]*$(?s:.*?)(?:^[ \t]{0,3}(?P=fence)[`~]*[ \t]*$|\Z)"
    r"|(?<!`)(?P<tick>`++)[^`\n]++(?P=tick)(?!`))"
)
# White space between a thought and its answer; the first line of an answer on a line of its own keeps its indentation.
BETWEEN = re.compile(r"(?:[^\S\n]*\n)+|[^\S\n]+|")


def answer_of(response: str, marks: Marks, opened: bool = False) -> str | None:
    """The text after the last finished thought; None where the response ends within a thought, "" where nothing follows it.

    `opened` says that the prompt ends within a thought. Upper and lower case are the same. An opening mark within a thought is text.
    A response whose first mark is a closing one began within a thought. In code that an answer quotes, marks are text.
    """
    closing, either = _patterns(marks)
    start = at = 0
    first = either.search(response) if not opened else None
    thinking = opened or (first is not None and _closes(first, marks))
    while True:
        if thinking:
            found = closing.search(response, at)
            if found is None:
                return None
            start = at = found.end()
            thinking = False
        found = _outside_code(marks).search(response, at)
        if found is None:
            break
        at = found.end()
        if found["mark"]:
            thinking = not _closes(found, marks)
            start = at
    between = BETWEEN.match(response, start) if start else None
    return response[between.end() if between else start :]


def ends_within(prompt: str, prefill: str, marks: Marks) -> bool:
    """Whether a prompt ends within a thought: it ends with the opening mark, or its `prefill` opens one, and nothing ends it.

    Marks elsewhere in a prompt are words of the question. `prefill` is the end of `prompt`.
    """
    opened = prompt.removesuffix(prefill).rstrip().lower().endswith(marks[0].lower())
    return answer_of(prefill, marks, opened) is None


def is_about_marks(checker: str, reference: object, marks: Marks) -> bool:
    """Whether a reference asks for the thought itself: `tags` with the section "think" where thoughts are in <think>."""
    if checker != "tags":
        return False
    asked = given(reference)
    tags = asked.get("tags") if isinstance(asked, dict) else asked
    return isinstance(tags, list) and any(f"<{tag}>".lower() == marks[0].lower() for tag in tags)


def _closes(found: re.Match[str], marks: Marks) -> bool:
    return found["mark"].lower() == marks[1].lower()


@cache
def _patterns(marks: Marks) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds the closing mark, and what finds either."""
    return re.compile(re.escape(marks[1]), re.IGNORECASE), re.compile(_either(marks), re.IGNORECASE)


@cache
def _outside_code(marks: Marks) -> re.Pattern[str]:
    """What finds the next piece of code or the next mark, in one pass."""
    start = f"(?:^|(?<={re.escape(marks[1])}))"  # of a fence: models end a thought on the line of one
    return re.compile(f"{CODE.replace('^', start, 1)}|{_either(marks)}", re.IGNORECASE | re.MULTILINE)


def _either(marks: Marks) -> str:
    """Either mark, the longer one first: one may begin with the other."""
    return f"(?P<mark>{'|'.join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True))})"
