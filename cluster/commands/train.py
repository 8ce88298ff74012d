"""A training run, from its config to its last line.

lock run.dir ──► check ──► Ray ──► actors ──► identity publish ──► restore, publish ──► Controller ──► picture
"""

import asyncio
import signal
import threading
from contextlib import AsyncExitStack
from pathlib import Path

from cluster.actors.placement import local_nodes, refuse_what_cannot_fit
from cluster.actors.session import joins_cluster, ray_session, refuse_ray_in_use
from cluster.actors.start import start_actors
from cluster.commands.summary import summary
from cluster.commands.validate import Checked, check
from cluster.controller import Controller
from cluster.interruption import Interruption
from cluster.publish.identity import prove_identity
from cluster.publish.publisher import Publisher
from cluster.record.checkpoint import Checkpoints, Position, read_position, read_stream, refuse_changed_data
from cluster.record.expert_log import ExpertLog
from cluster.record.expert_picture import draw_experts
from cluster.record.ledger import Ledger
from cluster.record.metrics import Metrics, OnStep, read_metrics
from cluster.record.picture import draw
from cluster.record.progress import Progress
from cluster.record.run_dir import config_of, lock_run_dir, refuse_changed_config, refuse_other_run, refuse_unknown_resume, write_config
from configs.loader import load
from configs.schema import Config


def train(config: Config, show: Progress | None = None, on_step: OnStep | None = None, interruption: Interruption | None = None) -> None:
    """Run `config` to its end, or raise what stopped it. Ctrl-C and SIGTERM raise KeyboardInterrupt after everything is stopped.

    In a thread other than the main one no signal arrives; there `interruption` stops the run.
    """
    show, interruption = show or Progress(config.run.steps), interruption or Interruption()
    refuse_ray_in_use()
    checked = check(config)
    if not joins_cluster():
        refuse_what_cannot_fit(config, local_nodes())
    refuse_unknown_resume(config)
    with lock_run_dir(config):
        refuse_other_run(config)
        checkpoint = where_to_resume(config)
        position = read_position(checkpoint) if checkpoint else Position(step=0, next_group=0, pending=())
        refuse_changed_data(position, checked.prompts.prompts)
        for line in checked.lines:
            show.say(line)
        show.say(beginning(config, checkpoint, position))
        if position.step >= config.run.steps:
            show.say(f"all {config.run.steps} steps are done")
        else:
            write_config(config)
            with ray_session():
                if threading.current_thread() is threading.main_thread():
                    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
                asyncio.run(interruption.stoppable(_train(config, checked, checkpoint, position, show, on_step)))
        if (config.run_dir / "metrics.jsonl").exists():
            draw(read_metrics(config.run_dir), config.run_dir / "reward.png")
            if (history := ExpertLog(config.run_dir).read()) is not None:
                draw_experts(history, config.run_dir / "experts.png")
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


async def _train(
    config: Config, checked: Checked, checkpoint: Path | None, position: Position, show: Progress, on_step: OnStep | None
) -> None:
    Checkpoints(config).set_aside_after(position.step)  # before anything else, so that a crash from here on resumes at this position
    async with AsyncExitStack() as stack:
        ledger = Ledger(config.run_dir / "ledger.db")
        stack.callback(ledger.close)
        metrics = Metrics(config, position.step, on_step)
        stack.callback(metrics.close)
        ledger.begin(position.step, position.next_group, position.pending)
        with show.stage("starting engines, ranks and reward workers"):
            actors = await stack.enter_async_context(start_actors(config, ledger.retried, checked.checkers))
        publisher = Publisher(config, actors.engines, actors.learners, actors.transport)
        with show.stage("identity publish"):
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
            show.say(f"before training: held-out greedy accuracy {first['eval/greedy']:.3f}")
        with show.training(position.step):
            await controller.run(position)
