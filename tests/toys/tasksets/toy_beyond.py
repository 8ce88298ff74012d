"""A taskset of the package verifiers whose tasks, one of each kind, need what an adapter cannot give."""

import verifiers.v1 as vf


class BeyondConfig(vf.TasksetConfig):
    kind: str = "runtime"


class Beyond(vf.Task[vf.TaskData]):
    @vf.reward
    async def right(self, trace: vf.Trace, runtime: vf.Runtime) -> float:
        return 1.0


class Quiet(Beyond):
    @vf.reward
    async def right(self, trace: vf.Trace) -> float:
        return 1.0


class Contained(Quiet):
    NEEDS_CONTAINER = True


class SetsUp(Quiet):
    async def setup(self, trace: vf.Trace, runtime: vf.Runtime) -> None:
        await runtime.run(["true"], {})


class Intercepts(Quiet):
    @vf.intercept
    async def change(self, request: vf.Request) -> None:
        return None


class StopsRequests(Quiet):
    @vf.stop
    async def at_request(self, request: vf.Request) -> bool:
        return True


KINDS = {
    "runtime": (Beyond, {"prompt": "q"}),
    "container": (Contained, {"prompt": "q"}),
    "image": (Quiet, {"prompt": "q", "image": "box:latest"}),
    "setup": (SetsUp, {"prompt": "q"}),
    "intercept": (Intercepts, {"prompt": "q"}),
    "stop": (StopsRequests, {"prompt": "q"}),
    "no prompt": (Quiet, {}),
}


class Beyonds(vf.Taskset[Beyond, BeyondConfig]):
    def load(self):
        kind, data = KINDS[self.config.kind]
        yield kind(vf.TaskData(**data), self.config.task)


__all__ = ["Beyonds"]
