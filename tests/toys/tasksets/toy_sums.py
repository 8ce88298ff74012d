"""A taskset of the package verifiers whose tasks have one turn: sums, with two rewards and a metric."""

import verifiers.v1 as vf


class SumsConfig(vf.TasksetConfig):
    most: int = 3


class SumData(vf.TaskData):
    right: int


class Sum(vf.Task[SumData]):
    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        return float(trace.last_reply == str(self.data.right))

    @vf.reward(weight=0.5)
    async def short(self, trace: vf.Trace) -> float:
        return float(len(trace.transcript) < 50)

    @vf.metric
    async def turns(self, trace: vf.Trace) -> float:
        return trace.num_turns


class Sums(vf.Taskset[Sum, SumsConfig]):
    def load(self):
        for n in range(self.config.most):
            yield Sum(SumData(prompt=f"{n}+{n}=", system_prompt="Add." if n else None, right=2 * n), self.config.task)


__all__ = ["Sums"]
