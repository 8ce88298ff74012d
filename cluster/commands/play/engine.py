"""A real engine in the model's place: one vLLM engine in this process, without a learner."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

from cluster.actors.fleet.group_work import Responding
from cluster.actors.places.device import on_gpu, refuse_other_builds, this_machine
from cluster.actors.session import engine_env
from cluster.commands.play.lines import Lines
from cluster.commands.play.screen import Screen, Shown
from configs.schema import Config
from rollout.chat.chat import Chat
from rollout.transcript.episode import Reply
from rollout.transfer.transport import choose_transport
from rollout.types import Prompt, Response


class Spoken:
    """An engine whose turns are printed as it says them, one at a time where a person steps through them."""

    def __init__(self, engine: Responding, lines: Lines | None, screen: Screen) -> None:
        """`lines` is where a person says to go on; None lets the engine speak to the end."""
        self.engine, self.lines, self.screen = engine, lines, screen

    async def respond_group(
        self, group_id: int, prompt: Prompt, seed: int, size: int, temperature: float | None, reply_to: Callable[[int], Reply | None], /
    ) -> AsyncIterator[tuple[int, Response]]:
        """One episode, with the same tokens as in a run."""

        def shown(member: int) -> Reply | None:
            reply = reply_to(member)
            return None if reply is None else Shown(reply, self.screen, said=True, then=self._go_on)

        async for member, response in self.engine.respond_group(group_id, prompt, seed, size, temperature, shown):
            if self.screen.asked < max(1, len(response.transcript)):  # a turn that nobody answered
                self.screen.said(self.screen.asked + 1, response.text)
            yield member, response

    def _go_on(self) -> None:
        if self.lines is not None and self.lines.line("Enter: the next turn, e: to the end > ").strip().lower().startswith("e"):
            self.lines = None


@contextmanager
def started(config: Config, chat: Chat) -> Iterator[Responding]:
    """The engine of a run with the weights of model.path; its processes end with the block."""
    gpu = on_gpu(config, this_machine())
    refuse_other_builds(gpu)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # its warnings would stand between the turns
    os.environ.update(engine_env(config, gpu))  # before vLLM is imported
    from rollout.engine.engine import Engine

    engine = Engine(config, choose_transport(config, gpu=gpu), chat)
    try:
        yield engine
    finally:
        engine.shutdown()
