"""One vLLM engine: prompts in, groups of responses out, weights swapped in between.

    respond ──► AsyncLLM ──► Response (tokens, log-probs, versions, experts), or as often as an episode has turns
    publish:  update (pause ► receive, load and prove) ► resume      one call each, made by the publisher
              patch (pause ► change and prove) ► resume              where only changes are published

Every turn of a response is its own request with its own seed, so it does not depend on the rest of the engine's batch.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
from numpy.typing import NDArray
from vllm import RequestOutput
from vllm.envs import enable_envs_cache
from vllm.usage.usage_lib import UsageContext
from vllm.v1.engine.async_llm import AsyncLLM

from configs.schema import Config
from rollout.chat.chat import NOTHING, Chat
from rollout.chat.reply_tokens import ReplyTokens
from rollout.door.episode import Voice
from rollout.engine.args import SCHEDULER, engine_args, stop_ids
from rollout.engine.detokenise import Detokeniser
from rollout.engine.pulse import Pulse, Work, any_stopped
from rollout.engine.requests import Prompted, Requests
from rollout.engine.sampling import sampled_logprobs
from rollout.engine.served import ServedVersions
from rollout.engine.steps import StepLogger, forget_prometheus
from rollout.seeds import seed_of_response, seed_of_turn
from rollout.transcript.episode import Reply
from rollout.transfer.proof import Digest, Manifest, Proof, columns_of
from rollout.transfer.recall import ExchangeBroken
from rollout.transfer.transport import Seat, Transport
from rollout.turns import Ask, Bounds, Play
from rollout.types import Finish, Prompt, Response

FINISH = {"stop": Finish.STOP, "length": Finish.LENGTH}
SHUTDOWN_S = 1.0
PROBE_TOKENS = 32  # of a greedy answer: enough to reveal wrong weights


class Engine:
    """A vLLM engine that knows which version of the weights it serves."""

    def __init__(self, config: Config, transport: Transport, chat: Chat = NOTHING) -> None:
        self.config, self.transport = config, transport
        self.work = Work()
        # As vLLM's offline class: its defaults for the size of a batch are those for throughput.
        self.llm = AsyncLLM.from_engine_args(
            engine_args(config, transport), usage_context=UsageContext.LLM_CLASS, stat_loggers=[partial(StepLogger, self.work)]
        )
        forget_prometheus(self.llm)
        enable_envs_cache()  # as vLLM does in its core: else it reads its environment anew for each output of each response
        tokenizer, stops = self.llm.get_tokenizer(), stop_ids(self.llm.model_config)
        self.detokeniser = Detokeniser(tokenizer, stops)
        self.speller = ReplyTokens(config, tokenizer, stops, chat)
        self.served = ServedVersions()
        self.requests = Requests(self.llm, together=config.rollout.vllm.get("scheduler_cls", SCHEDULER) == SCHEDULER)
        self._paused = self._updating = False
        self._beat: asyncio.Task[None] | None = None

    async def respond(
        self, prompt: Prompt, seed: int, *, temperature: float | None = None, limit: int | None = None, reply: Reply | None = None
    ) -> Response:
        """One response of at most `limit` tokens. `temperature` 0 is greedy; None means the configured value, also for `limit`.

        With `reply` it is an episode, whose turns it answers; it goes on until there is no answer, turn or room left.
        """
        heat = self.config.rollout.temperature if temperature is None else temperature
        tokens = limit or self.config.rollout.max_response_tokens
        if reply is None:
            return await self._sample(Ask(context=prompt.token_ids.tolist(), turn=0, limit=tokens, known=0), seed, heat, prompt.prompt_id)
        sample = partial(self._sample, seed=seed, temperature=heat, prompt_id=prompt.prompt_id)
        return await Play(prompt.token_ids.tolist(), sample, reply, self.speller.for_prompt(prompt), self._bounds(tokens)).respond()

    def voice(self, prompt: Prompt, seed: int, temperature: float | None) -> Voice:
        """How it speaks to the agent of one response to a prompt."""
        speller = self.speller.for_prompt(prompt)
        heat = self.config.rollout.temperature if temperature is None else temperature
        return Voice(
            sample=partial(self._sample, seed=seed, temperature=heat, prompt_id=prompt.prompt_id),
            speller=speller,
            bounds=self._bounds(self.config.rollout.max_response_tokens),
            plain=not speller.data.chat_template,
            version=self.served.newest,
        )

    def _bounds(self, tokens: int) -> Bounds:
        """How far an episode of so many tokens may go."""
        rollout = self.config.rollout
        return Bounds(turns=rollout.max_turns, reply=rollout.max_reply_tokens, response=tokens, context=self.config.context_tokens)

    async def _sample(self, ask: Ask, seed: int, temperature: float, prompt_id: str) -> Response:
        """One turn of the model, a request of its own with a seed of its own."""
        # The identity publish compares the log-probs of greedy answers.
        with_logprobs = self.config.rollout.logprobs or temperature == 0
        of = Prompted(tuple(ask.context), f"{self.served.newest}", ask.limit, temperature, with_logprobs, ask.known)
        answer = await self.requests.answer(of, seed_of_turn(seed, ask.turn))
        if not answer.outputs:
            raise RuntimeError(f"the engine returned nothing for prompt {prompt_id}")
        return self._response(answer, with_logprobs)

    async def respond_group(
        self,
        group_id: int,
        prompt: Prompt,
        seed: int,
        size: int,
        temperature: float | None = None,
        reply_to: Callable[[int], Reply | None] = lambda member: None,
    ) -> AsyncIterator[tuple[int, Response]]:
        """The group's responses with their places 0..size-1, each as soon as it finishes. Who stops asking aborts the rest.

        `reply_to` gives what answers the turns of the response in a place.
        """

        async def one(member: int) -> tuple[int, Response]:
            own = seed_of_response(seed, group_id, member, evaluated=temperature is not None)
            return member, await self.respond(prompt, own, temperature=temperature, reply=reply_to(member))

        asked = [asyncio.ensure_future(one(member)) for member in range(size)]
        try:
            for done in asyncio.as_completed(asked):
                yield await done
        finally:
            for request in asked:
                request.cancel()  # vLLM aborts a request whose caller is cancelled; a finished one stays as it is

    def _response(self, answer: RequestOutput, with_logprobs: bool) -> Response:
        output, times = answer.outputs[0], answer.metrics
        assert times is not None, "vLLM measures requests, as the engine has a logger"
        token_ids = np.asarray(output.token_ids, np.int32)
        began, ended = (times.first_token_ts, times.last_token_ts) if len(token_ids) else (time.monotonic(),) * 2
        return Response(
            token_ids=token_ids,
            logprobs=sampled_logprobs(token_ids, output.logprobs) if with_logprobs else None,
            finish=FINISH.get(output.finish_reason or "", Finish.ABORTED),
            oldest_version=self.served.at(began),
            newest_version=self.served.at(ended),
            text=self.detokeniser.text(token_ids.tolist()),
            routed_experts=output.routed_experts,
        )

    async def pause(self) -> None:
        """Freeze running requests; they continue with the next weights."""
        self._paused = True
        # As `AsyncLLM.pause_generation` does, without the 20 ms that it then sleeps so that callers see the last outputs first.
        await self.llm.renderer.clear_mm_cache_async()
        await self.llm.engine_core.pause_scheduler_async(mode="keep", clear_cache=True)

    async def resume(self) -> None:
        await self.llm.resume_generation()
        self._paused = False

    async def room(self) -> int:
        """Bytes that the worker with the least free memory can still take."""
        return min(await self.llm.collective_rpc("room"))

    async def sleep(self, level: int) -> None:
        """Freeze requests and give the GPU's memory away: at level 1 weights move to host memory, at level 2 they are lost.

        vLLM's CPU workers ignore it but for the freezing.
        """
        self._paused = True
        await self.llm.sleep(level, mode="keep")

    async def wake(self, tags: Sequence[str] | None) -> None:
        """Take back the memory of "weights" or of "kv_cache", or of both (None). Requests go on once both are there."""
        await self.llm.wake_up(None if tags is None else list(tags))
        if tags is None or "kv_cache" in tags:
            self._paused = False

    async def join_transfer(self, seat: Seat) -> None:
        """Meet the learner's sender in a transfer group; an earlier group is left first."""
        self._updating = True
        try:
            await self.llm.collective_rpc("leave_group")
            await self._take_part("init_weight_transfer_engine", self.transport.init_info(seat))
        finally:
            self._updating = False

    async def update(self, manifest: Manifest, version: int) -> tuple[list[Proof], list[str]]:
        """Freeze requests and load the tensors of one publish as they arrive; the workers' digests, and the layers that are not whole."""
        self._updating = True
        if not self._paused:
            await self.pause()
        if self.config.rollout.full_every > 1:
            await self.llm.collective_rpc("expect_patches", args=(columns_of(manifest),))
        answers = await self.llm.collective_rpc("take_publish", args=(columns_of(manifest),))
        if broken := [error for error, _, _ in answers if error]:
            raise ExchangeBroken(broken[0])
        await self.llm.update_weight_version(str(version))
        self._updating = False
        self.served.begin(version)
        return [proof for _, proof, _ in answers], sorted({layer for _, _, layers in answers for layer in layers})

    async def patch(self, base: str, raws: Sequence[tuple[bytes, Digest]], version: int) -> tuple[list[Proof], str]:
        """Freeze requests and change the weights with the fingerprint `base`; the workers' digests, or why whole weights are needed."""
        self._updating = True
        if not self._paused:
            await self.pause()
        answers = await self.llm.collective_rpc("take_patch", args=(base, list(raws)))
        self._updating = False
        if refused := [why for why, _ in answers if why]:
            return [], refused[0]
        await self.llm.update_weight_version(str(version))
        self.served.begin(version)
        return [proof for _, proof in answers], ""

    async def _take_part(self, method: str, info: dict[str, Any]) -> None:
        """A call in which the workers wait for other members of the group; raises what broke it off."""
        if broken := [error for error in await self.llm.collective_rpc("take_part", args=(method, info)) if error]:
            raise ExchangeBroken(broken[0])

    async def abandon_update(self) -> None:
        """Abandon a failed update. Its layers may have weights of two versions, so the engine stays paused until a whole update."""
        await self.llm.collective_rpc("abandon_publish")
        self._updating = False

    async def probe(self, prompts: Sequence[NDArray[np.int32]]) -> list[tuple[list[int], list[float]]]:
        """Greedy tokens and log-probs of a few prompts, which an identity publish must not change."""
        asked = [Prompt(prompt_id="probe", token_ids=ids, reference=None, checker="") for ids in prompts]
        # One after another: requests of one moment share a batch or not by chance, and other batch shapes are other kernels on a GPU.
        answers = [await self.respond(prompt, seed=0, temperature=0.0, limit=PROBE_TOKENS) for prompt in asked]
        return [(answer.token_ids.tolist(), [] if answer.logprobs is None else answer.logprobs.tolist()) for answer in answers]

    def pulse(self) -> Pulse:
        """Its progress so far, at once. A core that generates nothing is asked a question whose answer a later pulse counts.

        Raises what vLLM raises if the core is gone.
        """
        generating = self.requests.running > 0 and not self._paused
        if self._beat is not None and self._beat.done():
            self._beat.result()
            self._beat = None
        if not generating and not self._updating and self._beat is None:
            self._beat = asyncio.create_task(self._ask_core())
        return {
            "tokens": self.work.tokens,
            "steps": self.work.steps,
            "beats": self.work.beats,
            "requests": self.requests.running,
            "paused": self._paused,
            "updating": self._updating,
            "stopped": self._updating and any_stopped(process.pid for process in self.processes() if process.pid),
        }

    async def _ask_core(self) -> None:
        await self.llm.is_paused()
        self.work.beats += 1

    def processes(self) -> list[BaseProcess]:
        """The processes of vLLM's engine core."""
        return list(self.llm.engine_core.resources.engine_manager.processes)

    def shutdown(self) -> None:
        """End vLLM's processes; they hold nothing that has to be saved."""
        self.llm.shutdown(timeout=SHUTDOWN_S)
