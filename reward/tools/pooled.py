"""The tools that reward workers run: functions of the user's, and `python`."""

import json
from dataclasses import replace
from typing import Any

from configs.digits import write_long_json
from configs.tool_names import PYTHON
from reward.pool_tool import TOOL
from reward.tools.built_in import SCHEMAS
from reward.tools.result import Result
from reward.tools.tool import Tool
from reward.workers.pool import Item, RewardPool


def pooled_tool(entry: str, pool: RewardPool) -> Tool:
    """The tool of an entry of `tools.use`; the pool has imported it and is ready."""
    name = f"{TOOL}{entry}"
    schema: dict[str, Any] = SCHEMAS[PYTHON] if entry == PYTHON else json.loads(pool.asks[name][0])

    async def run(arguments: dict[str, Any]) -> Result:
        (verdict,) = await pool.score([Item(checker=name, response=write_long_json(arguments), reference=None)])
        if verdict.failure is not None:
            return Result(failure=replace(verdict, failure=with_name(entry, verdict.failure)))
        if "error" not in verdict.words:
            return Result(text=verdict.words["result"])
        return Result(text=verdict.words["error"], error=True) if entry == PYTHON else Result.wrong(verdict.words["error"])

    return Tool(entry=entry, schema=schema, run=run)


def with_name(entry: str, failure: str) -> str:
    """A failure of a call with the name of its tool, where the workers' words lack it: "timeout: tool 'web:find': more than 5 s"."""
    name = f"tool {entry!r}"
    kind, _, why = failure.partition(": ")
    return failure if name in failure else f"{kind}: {name}: {why.replace('the checker', 'it', 1)}"
