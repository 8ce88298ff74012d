"""The table of `tools.format`: how a model writes calls, and how it gets their results back."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reward.thinking import Marks
from reward.tools.call import Found
from reward.tools.formats import glm, hermes, json_objects, pythonic, xml

TAG = re.compile(r"<(?=/?tool_response>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way to write calls."""

    find: Callable[[str, Marks, bool], list[Found]]  # of a turn, the marks of thoughts, and whether it begins within a thought
    form: str  # a call, as an example for the model
    tags: bool = False  # results stand in <tool_response>

    def results(self, texts: Sequence[str], *, wrapped: bool) -> str:
        """The results of a turn's calls in their order, as one message.

        wrapped: the chat template puts the message into <tool_response> itself, as it does in the role "tool".
        """
        if not self.tags:
            return "\n".join(texts)
        # A blank breaks a tag that a result spells: it would end this result, and begin one that no tool gave.
        inner = "\n</tool_response>\n<tool_response>\n".join(TAG.sub("< ", text) for text in texts)
        return inner if wrapped else f"<tool_response>\n{inner}\n</tool_response>"


FORMATS = {
    "hermes": Format(find=hermes.find_calls, form=hermes.FORM, tags=True),
    "xml": Format(find=xml.find_calls, form=xml.FORM, tags=True),
    "glm": Format(find=glm.find_calls, form=glm.FORM, tags=True),
    "json": Format(find=json_objects.find_calls, form=json_objects.FORM),
    "pythonic": Format(find=pythonic.find_calls, form=pythonic.FORM),
}
