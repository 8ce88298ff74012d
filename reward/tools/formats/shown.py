"""Which way to write calls a prompt shows the model."""

import re

# The first that is found: the later ones could be words of a tool's description.
SIGNS = {
    "xml": re.compile(r"<function="),
    "glm": re.compile(r"<arg_key>"),
    "hermes": re.compile(r"<tool_call>\s*\{|within <tool_call>"),
    "json": re.compile(r'\{"name": function name, "parameters"'),
    "pythonic": re.compile(r"\[func_name1\(|<function_calls>"),
}


def format_shown(prompt: str) -> str | None:
    """The `tools.format` that the instructions in a prompt ask for; None where it cannot be told."""
    return next((name for name, sign in SIGNS.items() if sign.search(prompt)), None)
