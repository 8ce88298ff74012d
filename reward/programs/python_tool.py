"""The tool `python`: a program of the model's in the sandbox, with nothing that outlives it."""

from typing import Any

from reward.pool_tool import PoolTool, cut
from reward.programs.child_owner import Ended, RunResult
from reward.programs.fences import find_blocks, find_marks
from reward.programs.limits import CodeLimits
from reward.programs.sandbox import Sandbox

NOTHING = "(no output)"
HEAD, TAIL = 1000, 500  # characters of a long output that stand before an error, which a later cut must not take away


class PythonTool(PoolTool):
    """The tool with its limits and its sandbox, whose launcher lives as long as this. Used by one thread."""

    def __init__(self, limits: CodeLimits, sandbox: Sandbox | None = None) -> None:
        self.limits = limits
        self.sandbox = sandbox or Sandbox(limits)

    def call(self, arguments: dict[str, Any]) -> dict[str, str]:
        result = self.sandbox.run(program_of(arguments["code"]), kind="cell")
        return {"result" if result.succeeded else "error": cut(shown(result, self.limits))}


def load_python(limits: CodeLimits) -> PythonTool:
    """The tool with its launcher started; Unconfined (a ValueError) where this machine cannot hold a program."""
    tool = PythonTool(limits)
    assert tool.sandbox.launcher
    return tool


def program_of(code: str) -> str:
    """The program alone, where the model has put it into a fenced block."""
    if not code.lstrip().startswith(("```", "~~~")):
        return code
    lines = code.splitlines(keepends=True)
    return next((block.text for block in find_blocks(lines, find_marks(lines))), code)


def shown(result: RunResult, limits: CodeLimits) -> str:
    """What the model is shown of a run: what it printed, then its error, then the limit that ended it."""
    printed, error = result.stdout.decode(errors="replace").rstrip("\n"), result.stderr.rstrip("\n")
    why = limit_of(result, limits)
    if (error or why) and len(printed) > HEAD + TAIL:
        printed = f"{printed[:HEAD]}\n[…]\n{printed[-TAIL:]}"
    return "\n".join(filter(None, [printed, error, why])) or NOTHING


def limit_of(result: RunResult, limits: CodeLimits) -> str:
    """Why the program was ended, in words; empty where it ended by itself."""
    match result.ended:
        case Ended.TIME:
            return f"error: it was ended after {limits.timeout_s:g} s"
        case Ended.OUTPUT:
            return f"error: it was ended, because it printed more than {limits.output_kb} kB"
        case Ended.DISK:
            return f"error: it was ended, because its files took more than {limits.disk_mb} MB"
        case Ended.MEMORY if "MemoryError" not in result.stderr:
            return f"error: it needed more than {limits.memory_mb} MB of memory"
        case Ended.KILLED:
            return f"error: it ended by signal {result.status}"
    return "" if result.status == 0 or result.stderr else f"error: it ended with exit status {result.status}"
