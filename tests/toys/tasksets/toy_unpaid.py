"""Tasksets of the package verifiers that break rules: one without a reward, in an environment that runs the model twice."""

import verifiers.v1 as vf


class Unpaid(vf.Task[vf.TaskData]):
    """Gives no reward."""


class TwiceConfig(vf.EnvConfig):
    player: vf.AgentConfig = vf.AgentConfig()


class Twice(vf.Env[TwiceConfig]):
    async def run(self, task, agents):
        await agents.player.run(task)
        if task.data.name == "twice":
            await agents.player.run(task)


class Unpaids(vf.Taskset[Unpaid, vf.TasksetConfig]):
    def load(self):
        yield Unpaid(vf.TaskData(prompt="q", name="once"), self.config.task)
        yield Unpaid(vf.TaskData(prompt="q", name="twice"), self.config.task)


__all__ = ["Twice", "Unpaids"]
