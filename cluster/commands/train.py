"""A training run, from its config to its last line.

lock run.dir ──► check ──► Ray ──► actors ──► identity publish ──► restore, publish ──► Controller ──► picture
"""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from cluster.actors.nodes import nodes_of
from cluster.actors.session import ray_session
from cluster.actors.start import start_actors
from cluster.commands.checks.folder import check_folder
from cluster.commands.summary import summary
from cluster.commands.validate import Checked, check
from cluster.controller import Controller
from cluster.models.hub import fetch_models
from cluster.publish.identity import prove_identity
from cluster.publish.publisher import Publisher
from cluster.record.checkpoint import Checkpoints, Position, read_position, read_stream, refuse_changed_data
from cluster.record.held_out import describe_correctness
from cluster.record.ledger import Ledger
from cluster.record.metrics import Metrics
from cluster.record.nodes import describe_nodes, write_nodes
from cluster.record.pictures.artist import drawn_at_the_end
from cluster.record.progress import Progress
from cluster.record.run_dir import (
    config_of,
    lock_run_dir,
    refuse_changed_config,
    refuse_changed_template,
    refuse_other_run,
    refuse_unknown_resume,
    write_config,
)
from configs.loader import load
from configs.schema import Config


def train(config: Config) -> None:
    """Run `config` to its end, or raise what stopped it. Ctrl-C and SIGTERM raise KeyboardInterrupt after everything is stopped."""
    show = Progress(config.run.steps)
    config = fetch_models(config, show.say)
    checked = check(config)
    warnings = check_folder(config)
    refuse_unknown_resume(config)
    with lock_run_dir(config):
        refuse_other_run(config)
        checkpoint = where_to_resume(config)
        position = read_position(checkpoint) if checkpoint else Position(step=0, next_group=0, pending=())
        refuse_changed_template(config, checkpoint)
        refuse_changed_data(position, checked.prompts.prompts)
        for line in (*checked.lines, *(f"warning: {warning}" for warning in warnings)):
            show.say(line)
        show.say(beginning(config, checkpoint, position))
        with drawn_at_the_end(config.run_dir, show.say):
            if position.step >= config.run.steps:
                show.say("the only step is done" if config.run.steps == 1 else f"all {config.run.steps} steps are done")
            else:
                write_config(config)
                with ray_session():
                    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
                    asyncio.run(_train(config, checked, checkpoint, position, show))
        if (config.run_dir / "metrics.jsonl").exists():
            for line in summary(config.run_dir):
                show.say(line)


def beginning(config: Config, checkpoint: Path | None, position: Position) -> str:
    """A line that says where the run starts, and which damaged checkpoints it skipped."""
    line = f"continuing {checkpoint} after step {position.step}" if checkpoint else f"a new run in {config.run_dir}"
    damaged = Checkpoints(config).passed_over() if config.run.resume == "auto" else []
    return f"{line}; passed over as damaged: {', '.join(damaged)}" if damaged else line


def where_to_resume(config: Config) -> Path | None:
    """The checkpoint that run.resume asks for, None to start from the model; ValueError if it cannot be continued."""
    asked, kept = config.run.resume, config.run_dir / "config.toml"
    if asked == "never":
        return None
    if kept.exists():
        refuse_changed_config(load(kept), config)
    if asked == "auto":
        return Checkpoints(config).newest()
    checkpoint = Path(asked).absolute()  # actors have working directories of their own
    if origin := config_of(checkpoint):
        refuse_changed_config(origin, config, checkpoint)
    return checkpoint


async def _train(config: Config, checked: Checked, checkpoint: Path | None, position: Position, show: Progress) -> None:
    Checkpoints(config).set_aside_after(position.step)  # before anything else, so that a crash from here on resumes at this position
    async with AsyncExitStack() as stack:
        ledger = Ledger(config.run_dir / "ledger.db")
        stack.callback(ledger.close)
        metrics = Metrics(config, position.step)
        stack.callback(metrics.close)
        ledger.begin(position.step, position.next_group, position.pending)
        with show.stage("starting engines, ranks and reward workers"):
            actors = await stack.enter_async_context(start_actors(config, ledger.retried, checked.checkers, show.say))
        nodes = await nodes_of(actors)
        write_nodes(config.run_dir, nodes)
        for line in describe_nodes(nodes):
            show.say(line)
        publisher = Publisher(config, actors.engines, actors.learners, actors.transport)
        with show.stage("identity publish: proving that the engines hold the learner's weights"):
            await prove_identity(publisher, checked.prompts.prompts)
        if checkpoint:
            await actors.learners.load(checkpoint)
            await publisher.publish(position.step)
        controller = Controller(config, actors, publisher, checked.prompts, checked.held_out, ledger, metrics, show)
        if checkpoint:
            controller.stream.load(read_stream(checkpoint))
        if position.step == 0 and checked.held_out:
            first = await controller.evaluate()
            metrics.write(0, first)
            show.say(f"before training: {describe_correctness(first)}")
        with show.training(position.step):
            await controller.run(position)
