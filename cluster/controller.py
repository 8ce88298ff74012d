"""The training loop: who waits for whom.

    keep_full ──► engines ──► verdicts ──► take (waits for the oldest groups) ──► learn (waits for all ranks)
        ▲                                                                            │
        └──────── release (slots are free only now) ◄── publish (waits for all engines, proves the weights)

One loop serves every staleness: with `rollout.ahead = 0` the window is one step wide, so generation and learning alternate.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from cluster.actors.start import Actors
from cluster.health.alarm import MismatchAlarm, MismatchTooLarge
from cluster.health.rule import Finding
from cluster.health.watch import Watch
from cluster.loop.accounts import Accounts
from cluster.loop.attempts import Attempts, Place
from cluster.loop.capsules import Capsules
from cluster.loop.clock import Clock
from cluster.loop.evaluation import evaluate
from cluster.loop.moved import describe_publish
from cluster.loop.spikes import refuse_spikes
from cluster.loop.timeline import Timeline
from cluster.loop.unscored import describe_rejected, many_failures, refuse_unscored
from cluster.publish.publisher import Publisher
from cluster.publish.renewing import renewing
from cluster.record.audit.settings import Settings
from cluster.record.checkpoint import Checkpoints, Position, read_stream
from cluster.record.expert_log import ExpertLog
from cluster.record.ledger import Ledger
from cluster.record.metrics.episodes import describe_episodes
from cluster.record.metrics.held_out import UNNAMED, describe_correctness
from cluster.record.metrics.metrics import Metrics, Values, describe_groups, texts_per_group
from cluster.record.metrics.sources import describe_sources
from cluster.record.pictures.artist import Artist
from cluster.record.progress.progress import Progress
from cluster.record.saves.saver import Saver
from cluster.stop import Stop, Stopped
from configs.arithmetic import counted
from configs.schema import Config
from learner.loss.parts import worth_learning
from rollout.prompts.prompts import EvalSet, PromptSet
from rollout.types import GroupSummary
from rollout.window.order import open_stream
from rollout.window.scored import Scored
from rollout.window.window import GroupWindow


class Controller:
    """A run from a position to its last step, in one attempt or, where learner ranks are lost, in several."""

    def __init__(
        self,
        config: Config,
        actors: Actors,
        publisher: Publisher,
        prompts: PromptSet,
        held_out: Sequence[EvalSet],
        ledger: Ledger,
        metrics: Metrics,
        show: Progress,
        stop: Stop | None = None,
        first: Place | None = None,
    ) -> None:
        """`first` is where the run begins, and goes back to while it has no checkpoint of its own; by default at the model."""
        self.config, self.prompts, self.held_out, self.sizes = config, prompts.prompts, held_out, prompts.sizes
        self.engines, self.learners, self.publisher = actors.engines, actors.learners, publisher
        self.accounts = Accounts(ledger)
        self.engines.ranks_on_one_node = lambda: actors.learners.on_one_node
        self.ledger, self.metrics, self.show = ledger, metrics, show
        self.stream = open_stream(config.data, self.sizes, config.run.seed)
        recorded = (ledger.event, ledger.rates(), ledger.rolled_back)
        self.attempts = Attempts(config, self.engines, self.learners, publisher, show.say, first, *recorded)
        self.checkpoints = Checkpoints(config, self.prompts)
        self.experts = ExpertLog(config.run_dir)
        self.timeline = Timeline(config, self.engines, self.learners, publisher)
        self.alarm = MismatchAlarm(config)
        self.watch = Watch(config, held_out={found.name or UNNAMED: len(found.prompts) for found in held_out}, prompts=len(self.prompts))
        self.artist = Artist(config.run_dir, config.run.report)
        self.stop = stop or Stop()
        records = (ledger, metrics, self.experts, self.watch.log, self.timeline)
        self.saver = Saver(config, actors.learners, self.checkpoints, records, lambda line: show.say(line), self.stop)
        self.capsules = Capsules(config, actors.learners, actors.engines, self.checkpoints, lambda line: show.say(line))
        self.dynamic_sampling = config.dynamic_sampling  # derived from the preset, which takes longer than to judge a group by it
        self.rejected: list[GroupSummary] = []  # of this step
        self.unscored_in_a_row = 0
        self.saving_s = 0.0

    async def run(self, position: Position) -> None:
        """Train from `position` to run.steps, or until a stop is asked for; then the newest finished step is saved.

        The loss of a rank takes the run back to its newest checkpoint. Any other failure ends it and is raised; a save that fails is none.
        """
        with suppress(Stopped):
            while True:
                try:
                    await self._attempt(position)
                    return
                except ExceptionGroup as error:
                    if self.stop.asked:  # there is no use in new ranks
                        raise
                    self.stop.then = "stopping at the newest checkpoint"
                    place = await self.stop.cuts(self.attempts.next(error))
                self._go_back(place)
                position = place.position

    def _go_back(self, place: Place) -> None:
        """Make the record and the prompt stream those of a run that is resumed at `place`."""
        position = place.position
        self.checkpoints.set_aside_after(position.step)
        settings = Settings.of(self.config).as_json()
        self.accounts.write()  # they belong to the attempt that ends
        self.ledger.begin(position.step, position.next_group, position.pending, settings=settings)
        self.metrics.cut(position.step)  # after the ledger has undone these steps: an audit relies on it
        self.stream = open_stream(self.config.data, self.sizes, self.config.run.seed)
        if place.checkpoint:
            self.stream.load(read_stream(place.checkpoint))
        self.alarm = MismatchAlarm(self.config)
        self.unscored_in_a_row, self.saving_s = 0, 0.0

    async def _attempt(self, position: Position) -> None:
        """Train from `position` until the end, a stop or the first failure anywhere."""
        rollout = self.config.rollout
        if position.step == 0 and self.held_out:
            first = await self.evaluate(0)
            self.metrics.write(0, first)
            self.show.say(f"before training: {describe_correctness(first)}")
        self.experts.cut(position.step)
        self.timeline.cut(position.step)
        self.watch.begin(position.step)
        self.capsules.begin(position.step, self.watch.seen)
        async with self.saver.from_step(position.step), asyncio.TaskGroup() as tasks:
            window: GroupWindow[Scored] = GroupWindow(
                tasks,
                size=self.config.groups_in_flight,
                submit=self.submit,
                keep=lambda scored: scored.tokens is not None,
                on_reject=self.reject,
                next_group=position.next_group,
                pending=position.pending,
                max_rejected=rollout.max_refill * rollout.groups_per_step,
                max_staleness=self.slack_within,
                spent=lambda scored: {"answering": scored.summary.answering_s, "scoring": scored.summary.scoring_s},
            )
            self.show.follow_window(window.occupancy.counts)
            filling = tasks.create_task(window.keep_full(), name="keep the window full")
            watching = tasks.create_task(self.learners.watch(), name="watch the ranks")
            with suppress(Stopped):
                for step in range(position.step + 1, self.config.run.steps + 1):
                    await self.stop.finishes(self.step(step, window))
            filling.cancel()
            window.cancel()
            await self.saver.finish()
            watching.cancel()

    async def step(self, step: int, window: GroupWindow[Scored]) -> None:
        """Take, learn, publish, release, record; save and evaluate when due."""
        clock = self.timeline.begin()
        count = self.config.rollout.groups_per_step
        self.rejected = []
        self.stop.then = self.saver.plan(step - 1)
        groups = await self._take(window, count, step - 1)
        self.stop.then = f"stopping after step {step} is learned and saved"
        clock.lap("generate")
        summaries = [scored.summary for scored in groups]
        refuse_unscored(step, summaries)
        stats = await self.learners.step(groups)
        groups = [scored.with_words_alone() for scored in groups]  # the next groups already fill the object store
        clock.lap("learn")
        await self._copy_in_the_ranks_turn(step, clock)
        published = await self.publisher.publish(step)
        clock.lap("publish")
        self._enter(step, groups, published.weights)
        for summary in summaries:
            self.observe(summary)
        sampler = self.stream.end_step()  # before any slot is free: a group's prompt must not depend on when it is submitted
        window.published()
        if step + self.config.ahead < self.config.run.steps:
            # A group started later could not be learned any more, and would slow the last save and evaluation.
            await window.release(count)
        values = {
            **stats,
            **describe_groups(summaries, step),
            **describe_episodes(summaries, self.config.rollout.max_turns),
            **describe_sources(self.config.data.sources, summaries, self.rejected),
            **sampler,
            **describe_rejected(self.rejected),
            **describe_publish(published),
            **self.engines.counts(),
            **{f"window/{state}": mean for state, mean in window.occupancy.means().items()},
            **self.attempts.describe(),
        }
        values |= await self._evaluate_when_due(step)
        clock.lap("evaluate")
        clock.laps["save"], self.saving_s = self.saving_s, 0.0
        values |= clock.shares()
        values["tokens_per_second"] = values["tokens"] / max(values["seconds/step"], 1e-9)
        alarm = self.alarm.observe(values)
        self.metrics.write(step, values | self.alarm.counted)
        await self._write_experts(step, stats)
        self.metrics.write_texts(step, groups)
        unscored = many_failures([*summaries, *self.rejected], self.config.reward.warn_failures)
        for warning in self.watch.observe(step, values, {"reward_failures": unscored}):
            self.show.say(f"warning: {warning}")
        self.show.step(step, values)
        self.artist.draw_when_due()
        await self.capsules.after_step(step, groups, values, alarm, self.watch.seen)
        self.raise_alarm(step, values, alarm)
        # Last: a checkpoint promises that its step is on record. Its own seconds count in the next step's metrics.
        position = Position(step=step, next_group=window.next_group, pending=tuple(window.pending))
        await self.saver.after_step(position, self.stream.state())
        self.saving_s = clock.lap("save")
        self.timeline.end(step)

    def _enter(self, step: int, groups: Sequence[Scored], weights: str) -> None:
        """Enter a step in the ledger. Lines of earlier steps that wait for a full disk go first, or a run that dies now has a gap."""
        self.metrics.catch_up()
        self.accounts.learned(step, groups, weights)

    async def _write_experts(self, step: int, stats: Values) -> None:
        load = await self.learners.expert_load(stats)
        if load is not None and not await asyncio.to_thread(self.experts.write, step, load):
            self.experts.on_lost(f"experts.npz, step {step}")  # here, since the ledger belongs to this thread

    async def _take(self, window: GroupWindow[Scored], count: int, version: int) -> list[Scored]:
        """The next groups. Engines that are new while no other one is left get `version` first; a rank that is lost meanwhile is raised."""
        taking = renewing(self.engines, partial(self.publisher.publish, version), lambda: window.take(count))
        return await self.learners.unless_lost(self.stop.cuts(taking))

    async def submit(self, group_id: int) -> Scored:
        """Generate and score one group."""
        prompt = self.prompts[self.stream.index(group_id)]
        self.accounts.submitted(group_id, prompt.prompt_id, self.stream.epoch(group_id))
        rollout = self.config.rollout
        texts = texts_per_group(self.config.run.sample_responses, rollout.groups_per_step, self.config.run.sample_groups)
        scored = await self.engines.respond(group_id, prompt, rollout.group_size, texts=texts)
        # A group without signal only waits to be rejected: free its tokens in the object store now.
        return scored if self.worth_learning(scored) else scored.without_tokens()

    @property
    def slack_within(self) -> int | None:
        """The bound on staleness where stragglers may come later than in the order of submission; None where no step is left for that."""
        bound = self.config.run.max_staleness
        return bound if bound > self.config.ahead else None

    def worth_learning(self, scored: Scored) -> bool:
        return worth_learning(self.config, scored.summary) if self.dynamic_sampling else True

    def reject(self, scored: Scored) -> None:
        """Settle a group without signal; RuntimeError after groups_per_step groups in a row without a single reward."""
        self.rejected.append(scored.summary)
        self.observe(scored.summary)
        self.accounts.rejected(scored)
        self.unscored_in_a_row = self.unscored_in_a_row + 1 if scored.summary.unscored == len(scored.summary.rewards) else 0
        if self.unscored_in_a_row >= self.config.rollout.groups_per_step:
            last = scored.summary.failures[-1]
            raise RuntimeError(f"{counted(self.unscored_in_a_row, 'group')} in a row without a scored response; the last failure: {last}")

    def raise_alarm(self, step: int, values: Values, found: Finding | None) -> None:
        """Warn, go back, or end the run before this step is saved, so that the newest checkpoint is from before a spike or an alarm."""
        refuse_spikes(self.config, step, values, keep=self.stop.asked or step == self.attempts.rollbacks.step)
        if found is None:
            return
        self.watch.record(step, "mismatch_alarm", found)
        text = f"step {step}: {found.message}"
        if self.alarm.stops:
            raise MismatchTooLarge(text)
        self.show.say(f"warning: {text}")

    def observe(self, summary: GroupSummary) -> None:
        """Report the correctness of a settled group to the prompt stream."""
        self.stream.observe(summary.group_id, summary.correct[~summary.aborted])

    async def _copy_in_the_ranks_turn(self, step: int, clock: Clock) -> None:
        """Copy the state of a step that is to be saved before its publish, if afterwards the engines have the GPUs."""
        if await self.saver.in_the_ranks_turn(step):
            self.saving_s += clock.lap("save")

    async def _evaluate_when_due(self, step: int) -> Values:
        run = self.config.run
        due = step == run.steps or (run.eval_every and step % run.eval_every == 0)
        if not due or not self.held_out:
            return {}
        try:
            return await self.evaluate(step)
        except Stopped:
            return {}  # the step is learned all the same: its line has no evaluation

    async def evaluate(self, version: int) -> Values:
        """Held-out correctness under the weights that the engines serve now; Stopped if a stop comes before it is known."""
        publish = partial(self.publisher.publish, version)
        return await self.stop.cuts(renewing(self.engines, publish, lambda: evaluate(self.engines, self.held_out)))
