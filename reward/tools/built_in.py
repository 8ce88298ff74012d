"""What the model is told of the tools that come with Gatewise."""

from typing import Any

from configs.tool_names import PYTHON, PYTHON_SESSION

CODE = {"type": "string", "description": "The Python program"}


def schema(name: str, description: str) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"code": CODE}, "required": ["code"]}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


SCHEMAS = {
    PYTHON: schema(
        PYTHON,
        "Run a Python program and get what it prints and the value of its last expression. "
        "Nothing is kept between calls, and there is no network.",
    ),
    PYTHON_SESSION: schema(
        PYTHON_SESSION,
        "Run Python code and get what it prints and the value of its last expression. "
        "Variables, functions and imports are kept for later calls. There is no network.",
    ),
}
