"""The launcher: a bare interpreter without secrets that forks a confined child for every run of a program.

`reward.programs.launcher_owner` starts it with an empty environment. They speak over a `reward.processes.channel`:

```
owner → launcher   {"start": 1, "kind": "script", "fds": ["source", "stdin", ...], ...}  with those descriptors
                   {"kill": 1}, {"stop": 1}, {"resume": 1}
launcher → owner   {"walls": "..."} or {"refused": "..."}      once
                   {"pid": 1234}                               for every start
                   {"ended": 1, "status": 0, "cpu_s": 0.01, "outside": false}
                                                               for every child, "status" as of waitpid; "outside": a SIGKILL that
                                                               neither the owner nor the limit of CPU time has caused
```
Source, input and tests travel as descriptors that the launcher never reads. It dies with its owner, and its children with it.
"""

import gc
import importlib
import os
import resource
import select
import signal
import sys
from typing import Any

from reward.processes.channel import Channel
from reward.processes.children import Children, kill, kill_group
from reward.processes.prctl import ParentEndedError, die_with
from reward.programs import namespaces, walls
from reward.programs.child_main import run_child

MAX_FDS = 16
CPU_SLACK = 0.2  # seconds that the kernel's two ways to count may differ
# Most programs import these; a fork shares what the launcher has imported.
COMMON = (
    "abc", "array", "ast", "bisect", "collections", "contextlib", "copy", "dataclasses", "datetime", "decimal", "enum", "fractions",
    "functools", "heapq", "io", "itertools", "json", "math", "numbers", "operator", "queue", "random", "re", "statistics", "string",
    "textwrap", "threading", "time", "traceback", "types", "typing",
)  # fmt: skip


class Launcher:
    """Serves one owner until it ends."""

    def __init__(self, channel: Channel, found: walls.Walls) -> None:
        self.channel, self.walls = channel, found
        self.children: Children[dict[str, Any]] = Children(channel)  # each with its order

    def serve(self) -> None:
        """Start, kill and bury children until the owner is gone."""
        while True:
            for descriptor in self.children.wait():
                if descriptor in self.children.known:
                    self.bury(descriptor)
                elif not self.obey():
                    return

    def obey(self) -> bool:
        """Do what the next message says; False when there will be none."""
        received = self.channel.receive(MAX_FDS)
        if received is None:
            return False
        order, fds = received
        if "start" in order:
            self.start(order, fds)
            return True
        ((request, number),) = order.items()
        for descriptor, child in self.children.known.items():
            if child["start"] != number or select.select([descriptor], [], [], 0)[0]:  # another, or one that has ended
                continue
            if request == "kill":
                child["killed"] = True
                self.kill(child["pid"])
            else:
                os.kill(child["pid"], {"stop": signal.SIGSTOP, "resume": signal.SIGCONT}[request])
        return True

    def kill(self, pid: int) -> None:
        """Kill a child; without walls it may have started others, which are in its group."""
        if self.walls.unsafe:
            kill_group(pid)
        else:
            kill(pid)

    def start(self, order: dict[str, Any], fds: list[int]) -> None:
        """Fork a child, which is confined before it reads a byte of its descriptors."""
        if self.walls.tree:
            order["folder"] = walls.FOLDERS[order["role"]]
            user = os.getuid() if self.walls.user is None else self.walls.user
            group = os.getgid() if self.walls.user is None else self.walls.user
            namespaces.mount_folder(order["folder"], order["limits"]["disk_mb"], user, group)
        owner = os.getpid()
        pid = os.fork()
        if pid == 0:
            run_child(self.walls, order, dict(zip(order["fds"], fds, strict=True)), owner)
        for descriptor in fds:
            os.close(descriptor)
        self.children.watch(pid, order | {"pid": pid})
        self.channel.send({"pid": pid})

    def bury(self, descriptor: int) -> None:
        """Reap a child that has ended, remove what it leaves, and tell the owner how it ended."""
        child = self.children.remove(descriptor)
        if self.walls.unsafe:  # the processes it has started, while its id is still its own
            self.kill(child["pid"])
        _, status, usage = os.wait4(child["pid"], 0)
        if self.walls.tree:
            namespaces.unmount(child["folder"])
        cpu_s = usage.ru_utime + usage.ru_stime
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        outside = killed and "killed" not in child and cpu_s < walls.most_cpu(child["limits"]["cpu_s"]) - CPU_SLACK
        self.channel.send({"ended": child["start"], "status": status, "cpu_s": cpu_s, "outside": outside})


def main() -> None:
    """Arguments: the channel's descriptor, the owner's process id, "safe" or "unsafe", walls to do without, comma-separated."""
    descriptor, owner, safety, without = sys.argv[1:]
    try:
        die_with(int(owner), signal.SIGKILL)
    except ParentEndedError:
        return
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    channel = Channel.inherited(int(descriptor))
    for name in COMMON:
        importlib.import_module(name)
    try:
        found = walls.build(unsafe=safety == "unsafe", without=frozenset(filter(None, without.split(","))))
    except walls.Unconfined as refused:
        channel.send({"refused": str(refused)})
        return
    gc.collect()
    gc.freeze()
    launcher = Launcher(channel, found)
    channel.send({"walls": found.describe(), "tree": found.tree, "user": found.user})
    launcher.serve()
