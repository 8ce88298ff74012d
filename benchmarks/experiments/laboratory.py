"""A small training that runs a hundred times an hour: the real learner on one rank, with groups sampled in its own process.

    stream ──► sample (a Hugging Face copy of the policy) ──► check, shape ──► signal? ──► Learner.step ──► copy the weights

A real run samples with vLLM engines in other processes. Here a copy of the policy replaces them, because starting engines takes longer
than such a training. The copy imitates an engine's differences from the learner: its precision, noise in its routers, and the oldest
weights that run.max_staleness allows. Advantages, planning, losses and updates are those of a real run.
"""

import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from types import TracebackType
from typing import Any, Self

import numpy as np
import torch

from benchmarks.experiments.sampler import Answer, Diverged, EngineLike, StandIn, sample
from cluster.commands.validate import load_tokenizer
from cluster.record.metrics.metrics import describe_groups
from configs.schema import Config
from learner.batch.fetched import InMemory
from learner.learner import Learner
from learner.loss.parts import worth_learning
from learner.process_group import join_ranks
from reward.checkers import load_checker
from reward.programs.limits import CodeLimits
from reward.shaping import shape
from rollout.prompts.prompts import load_training_prompts
from rollout.seeds import derive_seed
from rollout.transfer.meeting import free_socket
from rollout.types import Finish, Group, GroupSummary, Prompt, Response, Verdict
from rollout.window.order import open_stream
from rollout.window.window import WindowExhausted

SAMPLING, EVALUATION = 101, 102  # the purpose of a seed
SKIPS_IN_A_ROW = 3  # steps with a dropped update after which a training has diverged

Values = dict[str, float]
checker_of = cache(partial(load_checker, limits=CodeLimits()))


class Laboratory:
    """One training in this process, one at a time; `ended` is why it stopped early, empty if it did not."""

    def __init__(self, config: Config, engine: EngineLike | None = None) -> None:
        torch.set_num_threads(1)
        self.config = config
        self.tokenizer = load_tokenizer(config)
        training = load_training_prompts(config, self.tokenizer)
        self.prompts = training.prompts
        listener = free_socket("127.0.0.1")
        port, deadline_s = listener.getsockname()[1], float(config.run.deadline_s)
        device = join_ranks(rank=0, world=1, host="127.0.0.1", port=port, deadline_s=deadline_s, listener=listener)
        self.learner = Learner(config, rank=0, world=1, device=device)
        self.policy: Any = self.learner.zero.module.language_model
        self.stand_in = StandIn(self.policy, engine or EngineLike(), config.run.max_staleness, config.run.seed)
        self.stream = open_stream(config.data, training.sizes, config.run.seed)
        self.random = torch.Generator().manual_seed(derive_seed(config.run.seed, SAMPLING))
        self.next_group = self.tokens = self.responses = self.skips = 0
        self.ended = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        torch.distributed.destroy_process_group()

    def steps(self, count: int) -> Iterator[Values]:
        """The metrics of `count` steps, or of fewer if the training diverges or no group has signal."""
        for _ in range(count):
            try:
                values = self.step()
            except WindowExhausted:
                self.ended = "no signal"
            except Diverged:
                self.ended = "diverged"
            else:
                yield values
            if self.skips >= SKIPS_IN_A_ROW:
                self.ended = "diverged"
            if self.ended:
                return

    def step(self) -> Values:
        """Sample, learn, publish: the metrics of Learner.step and the laboratory's own."""
        started, step = time.perf_counter(), self.stand_in.newest + 1
        groups, seen = self._collect()
        sampled = time.perf_counter()
        summaries = [GroupSummary.of(group) for group in groups]
        skipped = self.learner.skipped
        stats = self.learner.step(summaries, InMemory(groups))
        self.skips = self.skips + 1 if self.learner.skipped > skipped else 0
        self.stand_in.publish()
        for summary in seen:
            self.stream.observe(summary.group_id, summary.correct)
        sampler = self.stream.end_step()
        return {
            **stats,
            **describe_groups(summaries, step),
            **sampler,
            "step": float(step),
            "reward/correct": float(np.nanmean(np.concatenate([summary.correct for summary in seen]))),  # of rejected groups too
            "responses": float(self.responses),
            "tokens": float(self.tokens),
            "groups/rejected": float(len(seen) - len(groups)),
            "seconds/sample": sampled - started,
            "seconds/step": time.perf_counter() - started,
        }

    def evaluate(self, prompts: Sequence[Prompt], responses: int = 8) -> Values:
        """Correctness on `prompts` under the learner's newest weights: one greedy response each, and the mean of sampled ones."""
        random = torch.Generator().manual_seed(derive_seed(self.config.run.seed, EVALUATION))
        found = {}
        for name, size, heat in (("greedy", 1, 0.0), ("mean", responses, float(self.config.rollout.temperature))):
            try:
                judged = self._judge(prompts, self._sample(self.policy, prompts, size, heat, random))
            except Diverged:
                self.ended = "diverged"
                judged = []
            correct = [verdict.parts["correct"] for answers in judged for _, verdict in answers]
            found[f"held_out/{name}"] = float(np.mean(correct)) if correct else float("nan")
        return found

    def _collect(self) -> tuple[list[Group], list[GroupSummary]]:
        """A step's groups, with summaries of them and of the groups rejected because they had no signal."""
        rollout = self.config.rollout
        limit = rollout.max_refill * rollout.groups_per_step
        taken: list[Group] = []
        seen: list[GroupSummary] = []
        dry = 0
        while len(taken) < rollout.groups_per_step:
            for group in self._generate(rollout.groups_per_step - len(taken)):
                seen.append(GroupSummary.of(group))
                if self.config.dynamic_sampling and not worth_learning(self.config, seen[-1]):
                    dry += 1
                else:
                    dry = 0
                    taken.append(group)
            if dry >= limit:
                raise WindowExhausted(f"{dry} groups in a row carried no signal")
        return taken, seen

    def _generate(self, count: int) -> list[Group]:
        """The next `count` groups of the stream, sampled by the copy and scored."""
        places = range(self.next_group, self.next_group + count)
        prompts = [self.prompts[self.stream.index(place)] for place in places]
        size, heat = self.config.rollout.group_size, float(self.config.rollout.temperature)
        judged = self._judge(prompts, self._sample(self.stand_in.model, prompts, size, heat, self.random))
        self.next_group += count
        self.responses += count * size
        self.tokens += sum(len(response) for answers in judged for response, _ in answers)
        return [
            Group(group_id=place, prompt=prompt, responses=tuple(r for r, _ in answers), verdicts=tuple(v for _, v in answers))
            for place, prompt, answers in zip(places, prompts, judged, strict=True)
        ]

    def _sample(self, model: Any, prompts: Sequence[Prompt], size: int, heat: float, random: torch.Generator) -> list[list[Answer]]:
        most, stop = self.config.rollout.max_response_tokens, self.tokenizer.eos_token_id
        return sample(model, [p.token_ids for p in prompts], size, most=most, stop=stop, temperature=heat, random=random)

    def _judge(self, prompts: Sequence[Prompt], answers: Sequence[Sequence[Answer]]) -> list[list[tuple[Response, Verdict]]]:
        """Responses and verdicts as engines and reward workers return them."""
        tokens = [answer.token_ids.tolist() for group in answers for answer in group]
        texts = iter(self.tokenizer.batch_decode(tokens, skip_special_tokens=True))
        return [[self._score(prompt, answer, next(texts)) for answer in group] for prompt, group in zip(prompts, answers, strict=True)]

    def _score(self, prompt: Prompt, answer: Answer, text: str) -> tuple[Response, Verdict]:
        response = Response(
            token_ids=answer.token_ids,
            logprobs=answer.logprobs,
            finish=Finish.STOP if answer.stopped else Finish.LENGTH,
            oldest_version=self.stand_in.served,
            newest_version=self.stand_in.served,
            text=text,
        )
        verdict = Verdict(reward=float(checker_of(prompt.checker)(text, prompt.reference)))
        return response, shape(self.config.reward, verdict, {}, len(response), self.config.rollout.max_response_tokens)
