"""Requests to vLLM: the responses to one prompt that are asked for at one moment travel to its core in one message.

A message for each response costs both processes more than the response itself on a small model, and the core begins with what has come.
"""

import asyncio
from copy import copy
from typing import Any, NamedTuple

from vllm import RequestOutput
from vllm.inputs import tokens_input
from vllm.sampling_params import RequestOutputKind
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError
from vllm.v1.engine.output_processor import RequestOutputCollector

from rollout.engine.members import for_members, with_seed
from rollout.engine.sampling import sampling


class Prompted(NamedTuple):
    """What the responses of one message have in common."""

    context: tuple[int, ...]
    salt: str  # keeps prefix-cache blocks of other weights from serving them
    limit: int
    temperature: float
    logprobs: bool
    known: int  # tokens of the context whose experts an earlier turn brought


class Wanted(NamedTuple):
    """One response that somebody waits for."""

    name: str
    seed: int
    answer: RequestOutputCollector


class Requests:
    """Asks vLLM for responses and hands each its own answer."""

    def __init__(self, llm: AsyncLLM, *, together: bool = True) -> None:
        """`together`: the core has a scheduler that separates the members of a message."""
        self.llm, self.together = llm, together
        self.running = 0  # those that vLLM has and has not finished
        self._count = 0
        self._gathered: dict[Prompted, list[Wanted]] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def answer(self, of: Prompted, seed: int) -> RequestOutput:
        """The finished response to a prompt. A cancelled caller aborts the request.

        Raises what vLLM raises: of a prompt that it refuses, or of a core that is gone.
        """
        tasks = await self.llm.get_supported_tasks()  # asked of the core once
        if self.llm.errored:
            raise EngineDeadError
        self._count += 1
        name = f"{self._count}"
        wanted = Wanted(name, seed, RequestOutputCollector(RequestOutputKind.FINAL_ONLY, name))
        answer: Any = None
        self.running += 1
        self._gather(of, wanted, tasks)
        try:
            answer = await wanted.answer.get()
        finally:
            self.running -= 1
            if answer is None and not self.llm.errored:
                await self.llm.abort(name, internal=True)  # where it was sent, and nobody waits for it any more
        found: RequestOutput = answer
        return found

    def _gather(self, of: Prompted, wanted: Wanted, tasks: tuple[Any, ...]) -> None:
        """Have a response asked for after every task that is ready now has asked for its own."""
        gathered = self._gathered.setdefault(of, [])
        gathered.append(wanted)
        if len(gathered) == 1:
            task = asyncio.ensure_future(self._send(of, tasks))
            self._sending.add(task)  # the event loop itself keeps a weak reference only
            task.add_done_callback(self._sending.discard)

    async def _send(self, of: Prompted, tasks: tuple[Any, ...]) -> None:
        gathered = self._gathered.pop(of)
        try:
            self.llm.check_admission(len(gathered))
            params = sampling(of.temperature, gathered[0].seed, of.limit, of.logprobs, of.known)
            # A prompt that vLLM need not read.
            prompt = tokens_input(list(of.context), cache_salt=of.salt)
            request = self.llm.input_processor.process_inputs(gathered[0].name, prompt, params, supported_tasks=tasks)
            self.llm._run_output_handler()
            ones = []
            for wanted in gathered:
                one = copy(request)
                one.request_id = one.external_req_id = wanted.name
                one.sampling_params = with_seed(request.sampling_params, wanted.seed)
                self.llm.output_processor.add_request(one, None, queue=wanted.answer)
                ones.append(one)
            if self.together:
                ones[0].sampling_params = for_members(request.sampling_params, [(wanted.name, wanted.seed) for wanted in gathered])
            for one in ones[:1] if self.together else ones:
                await self.llm.engine_core.add_request_async(one)
        except Exception as error:
            for wanted in gathered:
                wanted.answer.put(error)
