"""A taskset of the package `verifiers` (0.4): its tasks as rows, its rewards as a checker, its environment as an environment.

```
rows()   taskset ──► {"prompt", "reference": the task's data, "id"}
score()  what the model said ──► a trace ──► the task's rewards
play()   Env.run(task, agents): turn = await interaction.turn(words) ──► yield words; at the end the rewards of the trace
```
"""

import inspect
import json
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import verifiers.v1 as vf
from verifiers.v1.configs.agent import agent_config_fields
from verifiers.v1.session import hook_boundary
from verifiers.v1.state import state_cls
from verifiers.v1.types import content_text
from verifiers.v1.utils.decorators import discover_decorated, invoke

from gatewise.adapters.bridge import Ask, bridge
from reward.episodes.words import held


class Unsupported(ValueError):
    """What the taskset needs and an adapter cannot give: a container, a second model, a hook into requests."""


class Verifiers:
    """The taskset of that id, with its settings: `world = Verifiers("wordle", game="Wordle-v0")`.

    `reward.checker = "my.py:world.play"` then names its environment, and `"my.py:world.score"` the rewards of tasks of one turn. `env`
    pairs it with another environment than its own. Unsupported says what does not work.
    """

    def __init__(self, taskset: str, env: str = "", **settings: Any) -> None:
        config = vf.resolve_env_config({"id": env, "taskset": {"id": taskset, **settings}})
        if len(seats := agent_config_fields(config)) != 1:
            raise Unsupported(f"the environment of {taskset!r} has the agents {', '.join(seats)}, needed one: the model plays one")
        self.name = taskset
        self.world = vf.load_environment(config)

    def task(self, reference: Any) -> vf.Task:
        """The task of a row."""
        kind = type(self.world.taskset).task_type()
        task = kind(kind.data_type().model_validate(reference), self.world.taskset.config.task)
        refuse_what_needs_more(task)
        return task

    def rows(self, most: int | None = None) -> Iterator[dict[str, Any]]:
        """The tasks as rows, all or the first ones. Set `most` for a taskset without end."""
        taskset = self.world.taskset
        if most is None and not taskset.bounded:
            raise Unsupported(f"the taskset {self.name!r} has no end: say how many rows, such as rows(1000)")
        for task in islice(taskset, most):
            refuse_what_needs_more(task)
            yield {"prompt": prompt_of(task), "reference": data_of(task), "id": task.key}

    def write(self, path: str | Path, most: int | None = None) -> None:
        """Write the rows as a JSONL file."""
        with Path(path).open("w", encoding="utf-8") as file:
            for row in self.rows(most):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")

    async def score(self, response: str, reference: Any) -> float:
        """The rewards of a task of one turn. Unsupported where the taskset has an environment of its own: that is for `play`."""
        if not isinstance(self.world, vf.SingleAgentEnv):
            raise Unsupported(f"the taskset {self.name!r} has an environment, {type(self.world).__name__}: use `play` in place of `score`")

        async def once(words: str | None) -> str:
            return response

        return await self._run(reference, once)

    @held
    def play(self, said: str, reference: Any) -> Generator[str, str, float]:
        """An episode of the taskset's environment, or one turn where it has none."""
        return (yield from bridge(said, lambda ask: self._run(reference, ask)))

    async def _run(self, reference: Any, ask: Ask) -> float:
        """Play one episode, and add up the rewards of its trace."""
        world, task = self.world, self.task(reference)
        ((name, config),) = agent_config_fields(world.config).items()
        seat = Seat(config, ask)
        agents = SimpleNamespace(**{name: seat})
        await world.start()
        try:
            await world.setup(agents)
            await world.run(task, agents)
            if len(seat.traces) != 1:
                raise Unsupported(f"{type(world).__name__} ran the model {len(seat.traces)} times in one episode, needed once")
            of_episode = vf.TraceTask(type=type(task).__name__, data=task.data)
            await world.finalize(task, vf.Episode(task=of_episode, traces=seat.traces, ok=True))
        finally:
            await world.stop()
        return reward_of(seat.traces[0])


class Seat:
    """The agent that the model plays, as an environment sees it."""

    def __init__(self, config: Any, ask: Ask) -> None:
        self.config, self._ask = config, ask
        self.trainable = True
        self.traces: list[vf.Trace] = []

    @asynccontextmanager
    async def interaction(self, task: vf.Task) -> AsyncIterator["Conversation"]:
        """Talk with the model. At the end the task scores what was said."""
        refuse_what_needs_more(task)
        conversation = Conversation(task, self.config, self._ask)
        self.traces.append(conversation.trace)
        if is_own(task.setup):
            await invoke(task.setup, {"trace": conversation.trace})
        yield conversation
        await conversation.finish()

    async def run(self, task: vf.Task) -> vf.Trace:
        """One turn."""
        async with self.interaction(task) as conversation:
            await conversation.turn()
        return conversation.trace


class Conversation:
    """The turns of the model, written into a trace."""

    def __init__(self, task: vf.Task, config: Any, ask: Ask) -> None:
        self._task, self._config, self._ask = task, config, ask
        about = vf.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash)
        self.trace = vf.Trace(task=about, state=state_cls(type(task))(), agent=vf.AgentInfo(config=config))
        for message in prompt_of(task):
            self._add({"role": message["role"], "content": message["content"]})

    async def turn(self, message: Any = None) -> vf.Segment:
        """Say something to the model, and wait for its turn; a terminated segment where it has none."""
        words = None if message is None else text_of(message)
        if await self._stops():
            return vf.Segment(messages=[], terminated=True)
        said = await self._ask(words)
        if said is None:
            self.trace.stop("max_turns")
            return vf.Segment(messages=[], terminated=True)
        if words is not None:
            self._add({"role": "user", "content": words})
        answer = vf.AssistantMessage(content=said)
        self._add(answer, sampled=True)
        self.trace.calls.append(vf.ModelCall(node=len(self.trace.nodes) - 1, finish_reason="stop"))
        return vf.Segment(messages=[answer])

    async def finish(self) -> None:
        """End the talk, and score it."""
        self.trace.stop("user_closed")
        self.trace.ok = True
        if is_own(self._task.finalize):
            await invoke(self._task.finalize, {"trace": self.trace})
        await self._task.score(self.trace)

    async def _stops(self) -> bool:
        """Whether the task, or the number of turns that its environment allows, ends the talk."""
        most = self._config.max_turns
        if most is not None and self.trace.num_turns >= most:
            self.trace.stop("max_turns")
        for stop in self._task.hooks("stop"):
            ends = stop(self.trace)
            if await ends if inspect.isawaitable(ends) else ends:
                self.trace.stop(stop.__name__)
        return self.trace.stop_condition is not None

    def _add(self, message: Any, *, sampled: bool = False) -> None:
        nodes = self.trace.nodes
        nodes.append(vf.MessageNode(parent=len(nodes) - 1 if nodes else None, message=message, sampled=sampled))


def refuse_what_needs_more(task: vf.Task) -> None:
    """Raise Unsupported where a task needs what only its own runtime has."""
    name = type(task).__name__
    if task.NEEDS_CONTAINER or task.data.image is not None:
        raise Unsupported(f"{name} runs in a container: give the model a tool, or write an environment that is held")
    hooks: list[Callable[..., Any]] = [*task.hooks("reward"), *task.hooks("metric")]
    hooks += filter(is_own, (task.setup, task.finalize))
    for hook in hooks:
        runtime = inspect.signature(hook).parameters.get("runtime")
        if runtime is not None and runtime.default is inspect.Parameter.empty:
            raise Unsupported(f"{name}.{hook.__name__} needs a runtime, in which commands run: there is none here")
    between = [hook.__name__ for hook in discover_decorated(task, "intercept")]
    between += [stop.__name__ for stop in task.hooks("stop") if hook_boundary(stop, allow_trace=True) is not vf.Trace]
    if between:
        raise Unsupported(f"{name}.{between[0]} changes requests or responses: only a `stop` that reads the trace works here")


def data_of(task: vf.Task) -> dict[str, Any]:
    """The data of a task as a JSON value, without fields that have their default."""
    data, fields = task.data, type(task.data).model_fields
    set_ = {name for name, field in fields.items() if getattr(data, name) != field.get_default(call_default_factory=True)}
    return data.model_dump(mode="json", include=set_)


def is_own(hook: Any) -> bool:
    """Whether a task's method is not the one that every task has, which does nothing."""
    return hook.__func__ is not getattr(vf.Task, hook.__name__)


def prompt_of(task: vf.Task) -> list[dict[str, str]]:
    """The messages of a row; Unsupported where the environment speaks first, as its words are not known before the episode."""
    data = task.data
    if data.prompt is None:
        raise Unsupported(f"{type(task).__name__} has no prompt: the environment speaks first, and a row needs the first words")
    system = [] if data.system_prompt is None else [{"role": "system", "content": data.system_prompt}]
    if isinstance(data.prompt, str):
        return [*system, {"role": "user", "content": data.prompt}]
    return [*system, *({"role": message.role, "content": text_of([message])} for message in data.prompt)]


def text_of(message: Any) -> str:
    """The text of what an environment says: a text, or messages of text."""
    if isinstance(message, str):
        return message
    contents = [one["content"] if isinstance(one, dict) else one.content for one in message]
    if any(not isinstance(content, str) and any(part.type != "text" for part in content) for content in contents):
        raise Unsupported("a message has parts that are no text: the model reads text")
    return "\n\n".join(map(content_text, contents))


def reward_of(trace: vf.Trace) -> float:
    """The weighted sum of the rewards; ValueError where none was given."""
    if not trace.rewards or None in trace.rewards.values():
        missing = ", ".join(name for name, reward in trace.rewards.items() if reward is None)
        raise ValueError(
            f"the task gave no reward{f' for {missing}' if missing else ''}: it needs a `@vf.reward`, or record_reward in its env"
        )
    return float(trace.reward)
