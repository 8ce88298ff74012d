"""Finds the calls that stand between marks in a turn, and leaves out those within a thought.

```
<think> perhaps <tool_call>{…}</tool_call> </think> I look it up. <tool_call>{…}</tool_call>
        a thought: no call                                        a call; marks of thoughts within it are its text
```
"""

import re
from collections.abc import Callable
from functools import cache

from reward.thinking import Marks
from reward.tools.call import Found

Read = Callable[[str, int], tuple[list[Found], int]]  # what a call's text gives, from behind its opening mark, and where it ends


def calls_between_marks(text: str, opens: str, read: Read, marks: Marks, opened: bool) -> list[Found]:
    """The calls of a turn, in their order.

    opens: the pattern of a call's opening mark. opened: the turn begins within a thought. A mark beside a backtick is quoted: text.
    A closing mark of a thought that was not opened says that the turn began within it: what stands before is no call.
    """
    found: list[Found] = []
    pattern, closing = _patterns(opens, marks)
    at = 0
    if opened:
        end = closing.search(text)
        if end is None:
            return found
        at = end.end()
    while (mark := pattern.search(text, at)) is not None:
        at = mark.end()
        if mark["call"] is not None:
            calls, at = read(text, at)
            found += calls
        elif mark["close"]:
            found.clear()
        elif (end := closing.search(text, at)) is None:
            break
        else:
            at = end.end()
    return found


@cache
def _patterns(opens: str, marks: Marks) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What finds the next mark, and what finds the end of a thought. Upper and lower case of a thought's marks are the same."""
    opening, closing = (f"(?i:{re.escape(mark)})" for mark in marks)
    either = f"(?<!`)(?:(?P<call>{opens})|(?P<open>{opening})|(?P<close>{closing}))(?!`)"
    return re.compile(either), re.compile(closing)
