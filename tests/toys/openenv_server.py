"""A small environment behind a real server of the package openenv-core: `python tests/toys/openenv_server.py PORT` on 127.0.0.1."""

import os
import sys
from typing import Any

import uvicorn
from openenv.core.env_server.http_server import create_fastapi_app
from openenv.core.env_server.interfaces import Environment
from openenv.core.env_server.types import Action, Observation, State
from pydantic import Field


class Guess(Action):
    number: int = Field(ge=0, le=99)


class Hint(Observation):
    words: str


class Guessing(Environment[Guess, Hint, State]):
    """The number game; the number 98 ends the server, 97 breaks the environment."""

    SUPPORTS_CONCURRENT_SESSIONS = True

    def __init__(self) -> None:
        super().__init__()
        self.secret = self.left = 0

    def reset(self, seed: int | None = None, episode_id: str | None = None, **options: Any) -> Hint:
        self.secret, self.left = options["secret"], 4
        return Hint(words="a number?")

    def step(self, action: Guess, timeout_s: float | None = None, **_: Any) -> Hint:
        if action.number == 98:
            os._exit(3)
        if action.number == 97:
            raise RuntimeError("broken")
        self.left -= 1
        found = action.number == self.secret
        words = "found" if found else "higher" if action.number < self.secret else "lower"
        return Hint(words=words, done=found or not self.left, reward=1.0 if found else 0.0)

    @property
    def state(self) -> State:
        return State(step_count=4 - self.left)


if __name__ == "__main__":
    app = create_fastapi_app(Guessing, Guess, Hint, max_concurrent_envs=64)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
