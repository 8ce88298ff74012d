"""vLLM's schedulers, sending the tokens of a response in few messages instead of one for each.

A message of one token with its log-prob and experts costs both processes more than the token itself on a small model, and its reader falls
behind a GPU that makes a thousand at a time. Nobody reads an unfinished response, so nothing is lost but time until a token is counted.
"""

import time
from typing import Any

from vllm.config import VllmConfig
from vllm.sampling_params import RequestOutputKind
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs
from vllm.v1.request import Request

from rollout.engine.holding import Held
from rollout.engine.members import separated


class Gathering:
    """What it adds to either of vLLM's schedulers."""

    requests: dict[str, Any]  # vLLM's, by their ids: those that are not finished

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._held = Held()
        self._made = 0  # tokens, whether they wait or not

    def add_request(self, request: Request) -> None:
        """Take the requests that one message asks for."""
        for one in separated(request):
            super().add_request(one)  # type: ignore[misc]

    def update_from_output(self, scheduler_output: Any, model_runner_output: Any) -> dict[int, EngineCoreOutputs]:
        """What vLLM's own returns, without tokens that can wait and with those that have waited.

        The statistics of the step say how many tokens have been made, in a field that vLLM leaves at 0 here.
        """
        made: dict[int, EngineCoreOutputs] = super().update_from_output(scheduler_output, model_runner_output)  # type: ignore[misc]
        now = time.monotonic()
        self._made += sum(len(output.new_token_ids) for outputs in made.values() for output in outputs.outputs)
        for client, outputs in made.items():
            if outputs.scheduler_stats is not None:
                outputs.scheduler_stats.step_counter = self._made
            outputs.outputs = [passed for output in outputs.outputs if (passed := self._take(client, output, now)) is not None]
        for client, output in self._held.overdue(now):
            made.setdefault(client, EngineCoreOutputs()).outputs.append(output)
        return made

    def _take(self, client: int, output: EngineCoreOutput, now: float) -> EngineCoreOutput | None:
        request = self.requests.get(output.request_id)
        taken: EngineCoreOutput | None
        if request is not None and request.sampling_params.output_kind == RequestOutputKind.FINAL_ONLY:
            taken = self._held.take(client, output, request.num_output_tokens, now)
        else:
            taken = self._held.join(client, output)
        return taken


class GatheringScheduler(Gathering, Scheduler):
    """vLLM's scheduler that makes one step after another."""


class GatheringAsyncScheduler(Gathering, AsyncScheduler):
    """vLLM's scheduler that plans a step while the one before runs."""


def scheduler(*args: Any, vllm_config: VllmConfig, **kwargs: Any) -> Scheduler:
    """The one that vLLM would choose itself, gathering."""
    kind = GatheringAsyncScheduler if vllm_config.scheduler_config.async_scheduling else GatheringScheduler
    made: Scheduler = kind(*args, vllm_config=vllm_config, **kwargs)
    return made
