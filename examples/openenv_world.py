"""A world behind a server of OpenEnv as a held environment: one session on the server for each episode."""

import json
from collections.abc import Generator
from typing import Any

from openenv import GenericEnvClient

from gatewise import held

SERVER = "http://127.0.0.1:8000"


@held
def play(said: str, options: dict[str, Any]) -> Generator[str, str, float]:
    """The model says actions as JSON objects, and reads observations as JSON; `options` of the row goes to the server's `reset`."""
    with GenericEnvClient(base_url=SERVER).sync() as world:
        world.reset(**options)
        total = 0.0
        while True:
            try:
                result = world.step(action(said))
            except (ValueError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and "VALIDATION_ERROR" not in str(error):
                    raise  # the server broke: no reward
                said = yield f"no such action: {error}"
                continue
            total += result.reward or 0.0
            if result.done:
                return total
            said = yield json.dumps(result.observation)


def action(said: str) -> dict[str, Any]:
    """The JSON object that the model said; ValueError where there is none."""
    value = json.loads(said)
    if not isinstance(value, dict):
        raise ValueError("needed a JSON object")
    return value
