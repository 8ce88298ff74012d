"""Agents for tests: programs that ask the model over HTTP."""

import asyncio
import json
import os
import time
import urllib.request
from typing import Any


def ask(base_url: str, api_key: str, **body: Any) -> Any:
    """One request without any library."""
    data = json.dumps({"messages": [{"role": "user", "content": "1+1="}], **body}).encode()
    headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{base_url}/chat/completions", data, headers)) as answer:
        return json.load(answer)


def scripted(question: str, reference: Any, base_url: str, api_key: str) -> float:
    """Does what the reference says."""
    if reference == "silent":
        return 1.0
    ask(base_url, api_key)
    if reference == "raises":
        raise RuntimeError("it broke")
    if reference == "dies":
        os._exit(3)
    if reference == "hangs":
        time.sleep(600)
    if reference == "many":
        while ask(base_url, api_key)["choices"][0]["finish_reason"] != "length":
            pass
    return 0.5


async def waiting(task: str, truth: Any, base_url: str, api_key: str, seed: int) -> float:
    """An agent may be a coroutine."""
    await asyncio.to_thread(ask, base_url, api_key, messages=[{"role": "user", "content": task}])
    return truth + seed
