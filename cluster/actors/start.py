"""Starts the actors of a run together: reward workers, engines and learner ranks.

They start at the same time, so the slowest decides. Exiting the context kills every actor, also on error.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.actors.engine_actor import EngineActor
from cluster.actors.engines import EnginePool, OnEvent
from cluster.actors.fleet.fleet import Fleet
from cluster.actors.fleet.group_work import episodes_of
from cluster.actors.learner_actor import GROUPS, LearnerActor
from cluster.actors.learners import Learners
from cluster.actors.nodes.object_store import refuse_small_stores
from cluster.actors.nodes.ray_watch import ray_answers
from cluster.actors.ping import EVERY_S
from cluster.actors.placement import cluster_nodes, reserve_places
from cluster.actors.places.apart import Places
from cluster.actors.places.device import count_gpus, this_machine, unused_gpus
from cluster.actors.places.fit import refuse_what_cannot_fit
from cluster.actors.places.shared import SharedPlaces
from cluster.actors.process import Env, log_path
from cluster.actors.reward_actor import RewardActor
from cluster.actors.session import engine_env, joins_cluster, learner_env
from cluster.causes.lost import RANK
from cluster.causes.roles import Role, RoleFailed, RoleLate, register
from configs.schema import Config
from rollout.chat.chat import NOTHING, Chat
from rollout.transfer.transport import Transport, choose_transport

GRACE_S = 5.0
MOST_CALLS = 100_000  # of one reward actor at once: an agent's call lasts as long as its episode
KEEP_WEIGHTS = 1  # the level of sleep in which vLLM keeps the weights in host memory
AnyPlaces = Places | SharedPlaces


@dataclass(frozen=True, slots=True, kw_only=True)
class Actors:
    """The actors of a run, ready to work."""

    engines: EnginePool
    learners: Learners
    transport: Transport  # how weights travel between them
    fleet: Fleet
    places: AnyPlaces


@asynccontextmanager
async def start_actors(
    config: Config,
    on_retry: Callable[[int], None],
    checkers: Sequence[str] = (),
    say: Callable[[str], object] = print,
    on_event: OnEvent = lambda kind, engine, text: None,
    chat: Chat = NOTHING,
) -> AsyncIterator[Actors]:
    """Start every actor and wait until all are ready; kill them all at the end.

    `checkers` are those that rows of the data name; `say` shows a line to the user: when the run waits for resources, when an engine dies.
    `chat` goes to the engines. `on_event` hears of every change of an engine's health.
    """
    async with _places(config, say) as places, _every_actor(config) as actors:
        refuse_small_stores(config, places.nodes(), say)
        transport = choose_transport(config, gpu=places.gpu)
        rewards = _reward_actors(config, places, actors, checkers)
        env = engine_env(config, places.gpu)
        kind = ray.remote(EngineActor)

        def launch(index: int) -> Any:
            """Start the actor of one engine, also in the place of a dead one."""
            where, own = apart_from_env(places.options(index, env))
            reward = rewards[index % len(rewards)]
            given = (config, index, transport, reward)
            actor = kind.options(**where, max_concurrency=10_000).remote(*given, gpu=places.gpu, chat=chat, env=own)
            leaving[actor] = (reward, episodes_of(index))
            return actors.add(actor, f"engine {index}", f"engine-{index}", has_children=True)

        def bury(actor: Any) -> None:
            """Kill the actor of an engine that is lost; environments of its episodes end, as it can no longer say so."""
            actors.kill(actor)
            if gone := leaving.pop(actor, None):
                reward, episodes = gone
                reward.leave.remote([episodes])

        leaving: dict[Any, tuple[Any, str]] = {}
        pool = EnginePool(config, [], on_retry, kill=bury, say=say, on_event=on_event)
        fleet = Fleet(pool, places, launch, actors.end, wanted=places.engines)
        learners = _rank_actors(config, places, actors)
        try:
            async with asyncio.TaskGroup() as starting:
                if not config.placement.share:
                    starting.create_task(learners.start())
                starting.create_task(fleet.start_all())
                for actor in dict.fromkeys(rewards):
                    starting.create_task(_ready(config, actor.ready.remote(), actors.roles[actor]))
            if config.placement.share:
                await _start_ranks_beside(config, learners, [engine.actor for engine in pool.engines], actors)
            for actor in dict.fromkeys(rewards):
                actors.watching.append(asyncio.create_task(report_restarts(actor, actors.roles[actor], say)))
            fleet.begin()
            yield Actors(engines=pool, learners=learners, transport=transport, fleet=fleet, places=places)
        finally:
            await fleet.close()


async def _start_ranks_beside(config: Config, learners: Learners, engines: Sequence[Any], actors: "Started") -> None:
    """Start the ranks on the engines' GPUs; afterwards the engines have these GPUs to themselves.

    An engine takes its share of the memory that is free when it starts, so the ranks come after it and load while it sleeps.
    """

    async def every(method: str, *args: Any) -> None:
        await asyncio.gather(*(_ready(config, getattr(actor, method).remote(*args), actors.roles[actor]) for actor in engines))

    await every("sleep", KEEP_WEIGHTS)
    await learners.start()
    await learners.all("park")
    await every("wake", None)


@asynccontextmanager
async def start_learners(config: Config, say: Callable[[str], object] = print) -> AsyncIterator[Learners]:
    """Start the learner ranks alone; kill them at the end."""
    async with _places(config, say) as places, _every_actor(config) as actors:
        learners = _rank_actors(config, places, actors)
        await learners.start()
        yield learners


def _reward_actors(config: Config, places: AnyPlaces, actors: "Started", checkers: Sequence[str]) -> list[Any]:
    """The reward actor of each engine: one for all, on a node that Ray chooses, or one on every node that has an engine."""
    kind = ray.remote(RewardActor)
    # Ray asks a new actor again what the one that died has not answered; handles stay valid.
    options = {"num_cpus": 0, "max_concurrency": MOST_CALLS, "max_restarts": config.reward.restarts}
    options["max_task_retries"] = -1 if config.reward.restarts else 0
    folder = os.getcwd()
    if config.reward.nodes == "one":
        only = kind.options(**options).remote(config, 0, checkers, folder)
        return [actors.add(only, "reward workers 0", "reward-0", has_children=True)] * places.engines
    homes = places.nodes()[: places.engines]
    there: dict[str, Any] = {}
    for index, home in enumerate(dict.fromkeys(homes)):
        here = NodeAffinitySchedulingStrategy(home, soft=False)
        actor = kind.options(**options, scheduling_strategy=here).remote(config, index, checkers, folder)
        there[home] = actors.add(actor, f"reward workers {index}", f"reward-{index}", has_children=True)
    return [there[home] for home in homes]


def _rank_actors(config: Config, places: AnyPlaces, actors: "Started") -> Learners:
    env = learner_env(config, places.gpu)
    remote: Any = ray.remote  # whose types lack groups
    kind = remote(concurrency_groups=GROUPS)(LearnerActor)

    def spawn() -> list[Any]:
        options = [apart_from_env(places.rank_options(rank, env)) for rank in range(config.learner.ranks)]
        ranks = [kind.options(**where).remote(config, rank, gpu=places.gpu, env=own) for rank, (where, own) in enumerate(options)]
        return [actors.add(actor, f"{RANK}{rank}", f"learner-{rank}") for rank, actor in enumerate(ranks)]

    return Learners(config, spawn(), spawn=spawn, renew=places.renew_ranks, kill=actors.kill)


def apart_from_env(options: dict[str, Any]) -> tuple[dict[str, Any], Env]:
    """The options of an actor, and the variables that it sets itself: Ray sets them on a cluster alone.

    A local Ray would start an agent for it, and one more process for every actor: it keeps the first ones for actors without variables.
    """
    return options, {} if joins_cluster() else options.pop("runtime_env")["env_vars"]


class Started:
    """The actors started so far that are not ended, so that all can be; those with child processes end these first."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.roles: dict[Any, Role] = {}
        self.parents: list[Any] = []
        self.watching: list[asyncio.Task[None]] = []

    def add(self, actor: Any, name: str, log: str, *, has_children: bool = False) -> Any:
        """Register an actor under the name by which errors call it."""
        self.roles[actor] = Role(name, log_path(self.config.run_dir, log))
        register(actor._actor_id.hex(), self.roles[actor])
        if has_children:
            self.parents.append(actor)
        return actor

    def kill(self, actor: Any) -> None:
        """Kill an actor; an engine's keeper then ends what the engine has started."""
        ray.kill(actor)
        self.roles.pop(actor, None)
        if actor in self.parents:
            self.parents.remove(actor)

    async def end(self, *ending: Any) -> None:
        """Let these end their children, within GRACE_S, then kill them."""
        if asked := [actor.shutdown.remote() for actor in ending if actor in self.parents]:
            await asyncio.to_thread(ray.wait, asked, num_returns=len(asked), timeout=GRACE_S)
        for actor in ending:
            self.kill(actor)


@asynccontextmanager
async def _every_actor(config: Config) -> AsyncIterator[Started]:
    actors = Started(config)
    try:
        yield actors
    finally:
        for task in actors.watching:
            task.cancel()
        if ray_answers():
            await actors.end(*actors.roles)


@asynccontextmanager
async def _places(config: Config, say: Callable[[str], object]) -> AsyncIterator[AnyPlaces]:
    nodes = cluster_nodes()
    refuse_what_cannot_fit(config, nodes)
    # Ray was told of no GPUs where a local run uses none.
    for line in unused_gpus(config, count_gpus(nodes if joins_cluster() else this_machine())):
        say(line)
    places = await reserve_places(config, say)
    try:
        yield places
    finally:
        if ray_answers():
            places.give_back()


async def report_restarts(actor: Any, role: Role, say: Callable[[str], object]) -> None:
    """Say when an actor that Ray starts again has died; ends with the actor."""
    process = 0
    while True:
        try:
            now: int = await actor.process.remote()
        except ray.exceptions.RayActorError:
            return  # its callers get this error too
        if process not in (0, now):
            say(f"warning: {role.name} (process {process}) died and started again; they score what had no verdict. Their log: {role.log}")
        process = now
        await asyncio.sleep(EVERY_S)


async def _ready(config: Config, start: Any, role: Role) -> None:
    deadline = float(config.run.deadline_s)
    try:
        await asyncio.wait_for(start, deadline)
    except TimeoutError as error:
        raise RoleLate(role, "was not ready", deadline) from error
    except ray.exceptions.RayError as error:
        raise RoleFailed(role, "could not start") from error
