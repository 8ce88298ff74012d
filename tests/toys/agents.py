"""Agents for tests: programs that ask the model over HTTP."""

import asyncio
import json
import os
import time
import urllib.request
from typing import Any


def shout(question: str, reference: Any, base_url: str, api_key: str) -> float:
    """Two turns by the client library, the second one streamed; right where the second says what the first said."""
    from openai import OpenAI

    with OpenAI(base_url=base_url, api_key=api_key, max_retries=0) as client:
        messages: list[Any] = [{"role": "user", "content": question}]
        first = client.chat.completions.create(model="policy", messages=messages).choices[0].message
        messages += [first, {"role": "user", "content": "1+1="}]
        parts = client.chat.completions.create(model="policy", messages=messages, stream=True)
        second = "".join(part.choices[0].delta.content or "" for part in parts)
        # Another history: a segment of its own.
        client.chat.completions.create(model="policy", messages=[{"role": "user", "content": "2+2="}], max_tokens=2)
    return float(len(second) % 2)


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
