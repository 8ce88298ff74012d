"""The rules of `[tools]`."""

from typing import Any

import pytest
from pydantic import ValidationError

from configs.schema import Config

GOOD = [
    [],
    ["python"],
    ["python_session", "my_corpus:search", "tools/search.py:search", "/a:b/c.py:d"],
    ["mcp:http://127.0.0.1:8000/mcp", "mcp:https://tools.example/mcp", "mcp:stdio python server.py --x 'a b'"],
    ["files=mcp:http://[::1]:8000/mcp", "web=mcp:stdio uvx server"],
]
BAD: list[tuple[dict[str, Any], str]] = [
    ({"use": ["pyton"]}, "needed one of"),
    ({"use": [""]}, "needed one of"),
    ({"use": ["search"]}, "needed one of"),
    ({"use": [":search"]}, "needed one of"),
    ({"use": ["python", "python"]}, "twice"),
    ({"use": ["mcp:"]}, "needed mcp:http://HOST"),
    ({"use": ["mcp:ftp://x"]}, "needed mcp:http://HOST"),
    ({"use": ["mcp:127.0.0.1:8000"]}, "needed mcp:http://HOST"),
    ({"use": ["mcp:stdio "]}, "needed a command"),
    ({"use": ["mcp:http://[::1"]}, "cannot be read"),
    ({"use": ["mcp:http://me:secret@host/mcp"]}, "would be in logs"),
    ({"use": ["mcp:http://host/mcp?key=1"]}, "would be in logs"),
    ({"use": ["mcp:stdio 'x"]}, "cannot be read"),
    ({"use": ["python"], "timeout_s": 3}, "has no effect"),
    ({"use": [], "format": "json"}, "has no effect"),
    ({"use": ["mcp:http://h/mcp"], "key_env": {"web": "KEY"}}, "no entry has a name"),
    ({"use": ["web=mcp:http://h/mcp"], "key_env": {"files": "KEY"}}, "the names are web"),
    ({"use": ["web=mcp:http://h/mcp"], "key_env": {"web": "sk-123"}}, "(not shown)"),
    ({"use": ["web=mcp:http://h/mcp", "web=mcp:http://i/mcp"]}, "name two servers differently"),
]


def config(tools: dict[str, Any], **tables: Any) -> Config:
    return Config.model_validate({"model": {"path": "m"}, "data": {"train": "t"}, "tools": tools} | tables)


@pytest.mark.parametrize("use", GOOD)
def test_entries_of_every_form_are_accepted(use: list[str]) -> None:
    assert config({"use": use}).tools.use == use


@pytest.mark.parametrize(("tools", "why"), BAD)
def test_what_cannot_work_is_refused(tools: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError) as raised:
        config(tools)
    assert why in str(raised.value)
    assert "sk-123" not in raised.value.errors()[0]["msg"]
    assert "secret" not in raised.value.errors()[0]["msg"]


@pytest.mark.parametrize("tools", [{"use": "python"}, {"use": [1]}, {"format": "qwen"}, {"max_calls": 0}, {"retries": -1}, {"calls": 1}])
def test_values_of_another_kind_are_refused(tools: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(tools)


def test_a_program_ends_before_its_worker() -> None:
    assert config({"use": ["python"]}, code={"timeout_s": 4.9})
    with pytest.raises(ValidationError, match=r"needed less than reward\.timeout_s"):
        config({"use": ["python"]}, code={"timeout_s": 5.0})
