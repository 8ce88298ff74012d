"""A training run, from its config to its last line.

check ──► lock run.dir ──► Ray ──► actors ──► identity publish ──► restore, publish ──► Controller ──► picture
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType

from cluster.actors.nodes.addresses import nodes_of
from cluster.actors.process import frozen_gc, without_gc
from cluster.actors.session import ray_session, refuse_ray_in_use
from cluster.actors.start import Actors, start_actors
from cluster.causes.cause import find_cause
from cluster.commands.checks.folder import check_folder
from cluster.commands.doctor.at_start import refuse_broken_machine
from cluster.commands.resuming.beginning import Beginning, where_to_begin
from cluster.commands.runs.summary import summary
from cluster.commands.validate import Checked, check
from cluster.controller import Controller
from cluster.loop.attempts import Place
from cluster.loop.shown import Shown
from cluster.models.hub import fetch_models
from cluster.publish.identity import prove_identity
from cluster.publish.patches import PatchPublisher
from cluster.publish.provenance import named_in, recorded_in
from cluster.publish.publisher import Publisher
from cluster.publish.turns import open_publisher
from cluster.record.audit.settings import Settings
from cluster.record.audit.steps import LOST
from cluster.record.checkpoint import Checkpoints, read_stream, refuse_changed_data
from cluster.record.ledger import END, Ledger
from cluster.record.metrics.metrics import Metrics, OnStep
from cluster.record.metrics.trackers.followers import followed
from cluster.record.nodes import describe_nodes, write_nodes
from cluster.record.pictures.artist import drawn_at_the_end
from cluster.record.progress.progress import Progress
from cluster.record.run_dir import (
    lock_run_dir,
    never_began,
    refuse_changed_template,
    refuse_other_run,
    refuse_unknown_resume,
    set_aside,
    write_config,
)
from cluster.record.saves.damage import refuse_damaged_record
from cluster.record.scaling.files import forget
from cluster.record.scaling.scaling import Scaling
from cluster.stop import Stop, Stopped
from configs.arithmetic import counted
from configs.schema import Config

STARTING = "starting engines, ranks and reward workers"
PROVING = "identity publish: proving that the engines hold the learner's weights"


def train(config: Config, show: Progress | None = None, on_step: OnStep | None = None, stop: Stop | None = None) -> None:
    """Run `config` to its end, or until `stop` is asked for; raises what ended it otherwise.

    A stop that comes before the first step ends the run at once, a later one after the newest finished step is saved. `on_step` gets the
    metrics of every step, and the run waits for it.
    """
    show, stop = show or Progress(config.run.steps), stop or Stop()
    refuse_ray_in_use()
    config = fetch_models(config, show.say)
    with without_gc():  # it imports torch and transformers
        checked = check(config)
    warnings = check_folder(config)
    refuse_broken_machine(config)
    refuse_unknown_resume(config)

    def hurried() -> bool:
        return stop.hurried and config.run.grace_s is not None

    with lock_run_dir(config) as folder:
        forget(folder)
        refuse_damaged_record(config)
        refuse_other_run(config)
        begin = where_to_begin(config)
        refuse_changed_template(config, begin.checkpoint)
        refuse_changed_data(begin.position, checked.prompts.prompts)
        for line in (*checked.lines, *(f"warning: {warning}" for warning in warnings), *begin.describe(config)):
            show.say(line)
        with followed(config, show.say, hurried) as followers, drawn_at_the_end(folder, show.say, hurried, config.run.report):
            if begin.position.step >= config.run.steps:
                show.say("the only step is done" if config.run.steps == 1 else f"all {config.run.steps} steps are done")
            else:
                if never_began(folder):
                    show.say(f"an earlier attempt ended before its first step: it is set aside in {set_aside(folder)}")
                write_config(with_origin(config, begin))
                with ray_session(config) as watch, frozen_gc():
                    asyncio.run(watch.guard(_train(config, checked, begin, show, Shown(config, show, followers, on_step), stop)))
        if (folder / "metrics.jsonl").exists():
            for line in summary(folder):
                show.say(line)


def with_origin(config: Config, begin: Beginning) -> Config:
    """The config as the run directory keeps it: `run.from` names the checkpoint itself, since a run's newest one changes."""
    return config.model_copy(update={"run": config.run.model_copy(update={"origin": str(begin.origin)})}) if begin.origin else config


async def _train(config: Config, checked: Checked, begin: Beginning, show: Progress, on_step: Shown | None, stop: Stop) -> None:
    Checkpoints(config).set_aside_after(begin.position.step)  # before anything else, so that a crash from here on resumes at this position
    grace = config.run.grace_s
    with stop.answered(show.say, float(config.run.stop_s), None if grace is None else float(grace)):
        async with AsyncExitStack() as stack:
            ledger = Ledger(config.run_dir / "ledger.db")
            stack.callback(ledger.close)
            position, settings = begin.position, Settings.of(config).as_json()
            ledger.begin(position.step, position.next_group, position.pending, begin.changes, settings)
            stack.enter_context(EndOnRecord(ledger, config, stop))
            metrics = Metrics(config, position.step, on_step)  # cuts lines after the ledger has undone their steps: an audit relies on it
            stack.callback(metrics.close)
            if on_step is not None:
                on_step.begin()
            try:
                actors, publisher = await stop.cuts(stack.enter_async_context(_ready(config, checked, begin, ledger, show)))
            except Stopped:
                return
            place = Place(position=begin.position, checkpoint=begin.checkpoint, origin=begin.origin)
            controller = Controller(config, actors, publisher, checked.prompts, checked.held_out, ledger, metrics, show, stop, place)
            stack.callback(controller.timeline.close)
            metrics.on_lost = controller.experts.on_lost = lambda name: ledger.event(LOST, name, "the disk was full")
            if begin.checkpoint:
                controller.stream.load(read_stream(begin.checkpoint))
            with show.training(begin.position.step):
                await controller.run(begin.position)


class EndOnRecord:
    """Within: an attempt, of which the ledger gets how it ended, for `gatewise runs`."""

    def __init__(self, ledger: Ledger, config: Config, stop: Stop) -> None:
        self.ledger, self.config, self.stop = ledger, config, stop

    def __enter__(self) -> None:
        """The attempt begins."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.ledger.event(END, "stopped" if self.stop.asked else "finished", "")
        elif isinstance(error, KeyboardInterrupt):
            self.ledger.event(END, "stopped", "interrupted")
        else:
            self.ledger.event(END, "failed", find_cause(error, self.config).line)


@asynccontextmanager
async def _ready(
    config: Config, checked: Checked, begin: Beginning, ledger: Ledger, show: Progress
) -> AsyncIterator[tuple[Actors, Publisher]]:
    """Every actor of the run, with the weights that it begins with on engines and ranks."""
    async with AsyncExitStack() as stack:
        with show.stage(STARTING):
            actors = await stack.enter_async_context(
                start_actors(config, ledger.retried, checked.checkers, show.say, ledger.event, checked.chat)
            )
        actors.engines.on_straggler = show.straggler
        show.follow_engines(actors.engines.now)
        nodes = await nodes_of(actors)
        write_nodes(config.run_dir, nodes)
        for line in describe_nodes(nodes):
            show.say(line)
        publisher = open_publisher(config, actors.engines, actors.learners, actors.transport)
        publisher.on_exchange, publisher.on_proven = show.exchange, recorded_in(ledger)
        if isinstance(publisher, PatchPublisher):
            publisher.on_refused = named_in(ledger.event, show.say)
        with show.stage(PROVING):
            await prove_identity(publisher, checked.prompts.prompts)
        if begin.checkpoint:
            await actors.learners.load(begin.checkpoint)
        elif begin.origin:
            await actors.learners.load_weights(begin.origin, optimizer=config.run.from_optimizer)
        if rates := ledger.rates():
            show.say(f"the learning rate is {rates[-1]:.3g} times learner.lr, as {counted(len(rates), 'rollback')} lowered it")
            await actors.learners.scale_rate(rates[-1])
        if begin.checkpoint or begin.origin:
            await publisher.publish(begin.position.step)
        engines = actors.engines
        scaling = Scaling(config, actors.fleet, lambda: engines.engines, actors.places, lambda: publisher.version, show.say)
        await stack.enter_async_context(scaling.working())
        yield actors, publisher
