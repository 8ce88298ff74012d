"""Samples responses with a policy in this process, in place of an engine: tokens, log-probs and turns, as vLLM returns them."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.schema import Config
from rollout.chat.chat import Chat
from rollout.chat.reply_tokens import ReplyTokens
from rollout.engine.detokenise import Detokeniser
from rollout.seeds import seed_of_response, seed_of_turn
from rollout.transcript.episode import Reply
from rollout.turns import Ask, Bounds, Play
from rollout.types import Finish, Prompt, Response

TOGETHER_S = 0.003  # requests that come within this time share forward passes
Said = tuple[list[int], list[float], bool]  # tokens, their log-probs, and whether a stop token ended them
Wanted = tuple[Ask, int, float, "asyncio.Future[Said]"]


class Sampler:
    """Samples with the learner's own weights, which is what an engine has after a publish."""

    def __init__(self, config: Config, model: Any, tokenizer: Any, chat: Chat, version: list[int]) -> None:
        found = json.loads((Path(config.model.path) / "generation_config.json").read_text())["eos_token_id"]
        self.stops = set(found if isinstance(found, list) else [found])
        self.config, self.model, self.version = config, model, version
        self.detokeniser = Detokeniser(tokenizer, self.stops)
        self.speller = ReplyTokens(config, tokenizer, sorted(self.stops), chat)
        self.waiting: list[Wanted] = []

    async def respond_group(
        self,
        group_id: int,
        prompt: Prompt,
        seed: int,
        size: int,
        temperature: float | None = None,
        reply_to: Callable[[int], Reply | None] = lambda member: None,
    ) -> AsyncIterator[tuple[int, Response]]:
        """As `Engine.respond_group`."""
        rollout = self.config.rollout
        heat = rollout.temperature if temperature is None else temperature
        limit = rollout.max_response_tokens
        bounds = Bounds(turns=rollout.max_turns, reply=rollout.max_reply_tokens, response=limit, context=self.config.context_tokens)

        async def one(member: int) -> tuple[int, Response]:
            own = seed_of_response(seed, group_id, member, evaluated=temperature is not None)
            context, reply = prompt.token_ids.tolist(), reply_to(member)

            async def sample(ask: Ask) -> Response:
                return await self.sample(ask, seed_of_turn(own, ask.turn), float(heat))

            if reply is None:
                return member, await sample(Ask(context=context, turn=0, limit=limit, known=0))
            return member, await Play(context, sample, reply, self.speller.for_prompt(prompt), bounds).respond()

        for done in asyncio.as_completed([asyncio.ensure_future(one(member)) for member in range(size)]):
            yield await done

    async def sample(self, ask: Ask, seed: int, temperature: float) -> Response:
        """One turn of the model."""
        loop = asyncio.get_running_loop()
        if not self.waiting:
            loop.call_later(TOGETHER_S, self._run)
        coming: asyncio.Future[Said] = loop.create_future()
        self.waiting.append((ask, seed, temperature, coming))
        tokens, logprobs, ended = await coming
        return Response(
            token_ids=np.array(tokens, np.int32),
            logprobs=np.array(logprobs, np.float32),
            finish=Finish.STOP if ended else Finish.LENGTH,
            oldest_version=self.version[0],
            newest_version=self.version[0],
            text=self.detokeniser.text(tokens),
        )

    def _run(self) -> None:
        """Answer all that wait; contexts of one length are one batch, so none is padded."""
        by_length: dict[int, list[Wanted]] = defaultdict(list)
        for wanted in self.waiting:
            by_length[len(wanted[0].context)].append(wanted)
        self.waiting = []
        for batch in by_length.values():
            self._batch(batch)

    @torch.no_grad()
    def _batch(self, batch: Sequence[Wanted]) -> None:
        generators = [torch.Generator().manual_seed(seed % 2**63) for _, seed, _, _ in batch]
        tokens = torch.tensor([list(ask.context) for ask, *_ in batch])
        said: list[Said] = [([], [], False) for _ in batch]
        for place in range(max(ask.limit for ask, *_ in batch)):
            logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits[:, -1].float()
            taken = []
            for row, (ask, _, heat, _) in enumerate(batch):
                token, logprob = draw(logits[row], heat, generators[row])
                taken.append(token)
                ids, logprobs, ended = said[row]
                if not ended and place < ask.limit:
                    said[row] = ([*ids, token], [*logprobs, logprob], token in self.stops)
            if all(ended or place + 1 >= ask.limit for (_, _, ended), (ask, *_) in zip(said, batch, strict=True)):
                break
            tokens = torch.cat([tokens, torch.tensor(taken)[:, None]], 1)
        for (*_, coming), found in zip(batch, said, strict=True):
            if not coming.done():
                coming.set_result(found)


def draw(logits: Tensor, temperature: float, generator: torch.Generator) -> tuple[int, float]:
    """A token and its log-prob at this temperature; 0 is greedy."""
    logprobs = torch.log_softmax(logits / (temperature or 1.0), -1)
    token = int(torch.multinomial(logprobs.exp(), 1, generator=generator)) if temperature else int(logprobs.argmax())
    return token, float(logprobs[token])
