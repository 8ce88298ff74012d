"""A taskset of the package verifiers with an environment of its own: a number is guessed in several turns."""

import itertools

import verifiers.v1 as vf

CLOSED: list[str] = []


class GuessData(vf.TaskData):
    secret: int


class Guess(vf.Task[GuessData]):
    @vf.stop
    async def gave_up(self, trace: vf.Trace) -> bool:
        return trace.num_turns > 0 and trace.last_reply == "give up"

    @vf.reward(weight=0.5)
    async def quick(self, trace: vf.Trace) -> float:
        return float(trace.num_turns <= 2 and trace.last_reply == str(self.data.secret))


class GuessEnvConfig(vf.EnvConfig):
    player: vf.AgentConfig = vf.AgentConfig(max_turns=4)


class GuessEnv(vf.Env[GuessEnvConfig]):
    async def run(self, task, agents):
        async with agents.player.interaction(task) as talk:
            turn = await talk.turn()
            while not turn.terminated and turn.last_reply != str(task.data.secret):
                higher = turn.last_reply.isdigit() and int(turn.last_reply) < task.data.secret
                turn = await talk.turn("higher" if higher else [vf.UserMessage(content="lower")])
        talk.trace.record_reward("found", float(not turn.terminated), 0.5)

    async def finalize(self, task, episode):
        CLOSED.append(episode.traces[0].stop_condition)


class Guesses(vf.Taskset[Guess, vf.TasksetConfig]):
    INFINITE = True

    def load(self):
        for n in itertools.count():
            yield Guess(GuessData(prompt=[vf.UserMessage(content="guess")], secret=n), self.config.task)


__all__ = ["GuessEnv", "Guesses"]
