"""Keys of `[tools]`."""

from typing import Literal

from pydantic import Field, StrictStr

from configs.section import Count, Positive, Section, Whole


class ToolsConfig(Section):
    """What the model may call in its turns."""

    use: list[StrictStr] = Field(
        default=[],
        description='what the model may call: "python", "python_session", functions, "mcp:http://127.0.0.1:8000/mcp", "mcp:stdio COMMAND". '
        'A function is "package.module:function" or "path/to/file.py:function". "NAME=mcp:…" puts NAME_ before its tools\' names',
    )
    format: Literal["hermes", "json", "xml", "glm", "pythonic"] = Field(
        default="hermes",
        description='how the model writes calls. "hermes": Qwen2.5, Qwen3; "xml": Qwen3-Coder; "json": Llama 3; "glm": GLM-4.5; '
        '"pythonic": Llama 4 and OLMo 3',
    )
    max_calls: Count = Field(default=8, description="calls that one turn may make. Further ones get an error as their result")
    timeout_s: Positive = Field(default=30.0, description="longest time in seconds for one call of an MCP server's tool")
    retries: Whole = Field(
        default=2, description="further attempts where an MCP server could not be reached. A call that may have run is not repeated"
    )
    concurrency: Count = Field(default=16, description="calls in progress at once, for each MCP server on each node")
    key_env: dict[str, StrictStr] = Field(
        default_factory=dict,
        description="by the NAME of an MCP server, the environment variable that holds its key: a bearer token over HTTP, a variable of "
        "the command's environment. The key itself is never in a config, log or error",
    )
