"""The schemas of a run's tools for a process that makes prompts: it imports nothing of the user's."""

import asyncio
from typing import Any

from configs.schema import Config
from reward.code_limits import code_limits
from reward.tools.tools import Tools
from reward.tools.warm import warm_tools
from reward.workers.pool import RewardPool


def tool_schemas(config: Config) -> list[dict[str, Any]]:
    """The schemas of `tools.use`, in its order; ValueError or OwnCodeError where a tool cannot be used, with what to do.

    A pool of one worker imports the functions, and MCP servers are asked for their tools. Without tools it returns at once. It needs a
    thread without a running event loop.
    """
    return asyncio.run(ask_for_schemas(config)) if config.tools.use else []


async def ask_for_schemas(config: Config) -> list[dict[str, Any]]:
    """The same on a running event loop."""
    reward, warm = config.reward, warm_tools(config)
    limits = code_limits(config)
    async with RewardPool(workers=1, timeout_s=float(reward.timeout_s), memory_mb=reward.memory_mb, warm=warm, limits=limits) as pool:
        tools = Tools(config, pool)
        try:
            await tools.ready()
            return tools.schemas
        finally:
            await tools.close()
