"""The tools of a run: reads the calls of a turn, makes them, and gives the results back as the model expects them.

```
turn ──► calls (tools.format) ──► arguments fit? ──► reward workers: functions, python
          │ no call: None              │ no          ├► sessions: python_session
          ▼                            ▼             └► MCP servers
       the row's checker          an observation  ◄──── results, in the order of the calls
```
What the model can cause is an observation: text that begins with "error: ", or what a program printed. It is a call that cannot be read,
an unknown tool, wrong arguments, a ValueError of a function, a program that fails or exceeds its own limits, and an error that an MCP
server reports. Everything else is a failure: the episode has no reward.
"""

import asyncio
import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from configs.cut import CUT
from configs.schema import Config
from configs.tool_names import PYTHON_SESSION
from reward.asked import Asked
from reward.json_value import sendable
from reward.thinking import ends_within
from reward.tools.arguments import problems_of, typed
from reward.tools.built_in import SCHEMAS
from reward.tools.call import BadCall, Found
from reward.tools.formats.table import FORMATS
from reward.tools.mcp_server import McpServer
from reward.tools.name import server_of
from reward.tools.pooled import pooled_tool
from reward.tools.result import Result
from reward.tools.session import python_sessions, run_in_session
from reward.tools.tool import Tool, by_name
from reward.workers.pool import RewardPool
from rollout.transcript.episode import Answer

SHOWN_CHARS = 80


class Tools:
    """Answers turns that call tools; used on one event loop, the one of `ready`. Without `tools.use` it answers none."""

    def __init__(self, config: Config, pool: RewardPool) -> None:
        self.config, self.pool = config.tools, pool
        self.sessions = python_sessions(config) if PYTHON_SESSION in config.tools.use else None
        self.format = FORMATS[config.tools.format]
        self.wrapped = config.rollout.reply_role == "tool"
        self.marks = config.reward.thinking_marks
        self._servers: list[McpServer] = []
        self._tools: dict[str, Tool] = {}

    @property
    def schemas(self) -> list[dict[str, Any]]:
        """What chat templates get, in the order of `tools.use`; known once the tools are ready."""
        return [tool.schema for tool in self._tools.values()]

    async def ready(self) -> None:
        """Wait for the pool and every server; ValueError or OwnCodeError where a tool cannot be used, with what to do."""
        if not self.config.use:
            return
        await self.pool.ready()
        if self.sessions is not None:
            await self.sessions.ready()
        found = await asyncio.gather(*(self._of(entry) for entry in self.config.use))
        self._tools = by_name(tool for tools in found for tool in tools)

    async def _of(self, entry: str) -> list[Tool]:
        """The tools of one entry of `tools.use`."""
        if (server := server_of(entry)) is not None:
            self._servers.append(asking := McpServer(server, self.config))
            return await asking.tools()
        if entry == PYTHON_SESSION:
            return [Tool(entry=entry, schema=SCHEMAS[PYTHON_SESSION])]
        return [pooled_tool(entry, self.pool)]

    async def answer(self, asked: Asked) -> Answer | None:
        """The results of the calls in the newest turn; None where it has none."""
        turns = asked.said
        calls = self._calls(asked, len(turns) - 1) if self._tools else []
        if not calls:
            return None
        results = await self._results(asked, calls)
        errors = sum(one.error for one in results)
        failure = next((one.failure for one in results if one.failure is not None), None)
        if failure is not None:
            return Answer(failure=failure, tool_calls=len(calls), tool_errors=errors)
        texts = [sendable(one.text) for one in results]
        words = self.format.results(texts, wrapped=self.wrapped)
        return Answer(words=words, tool_calls=len(calls), tool_errors=errors, cut=any(text.endswith(CUT) for text in texts))

    def _calls(self, asked: Asked, place: int) -> list[Found]:
        """The calls of one turn. A prefill begins every turn, and each begins within a thought if the prompt ends in one."""
        opened = ends_within(asked.prompt.removesuffix(asked.prefill), "", self.marks)
        return self.format.find(asked.prefill + asked.said[place].said, self.marks, opened)

    async def _results(self, asked: Asked, calls: Sequence[Found]) -> list[Result]:
        """A result for each call, in their order. Calls run at the same time, except for those of a session."""
        in_session = asyncio.Lock()
        earlier = self._programs_before(asked) if any(self._is_program(place, one) for place, one in enumerate(calls)) else 0

        async def one(place: int, call: Found) -> Result:
            read = self._read(place, call)
            if isinstance(read, Result):
                return read
            tool, arguments = read
            if tool.entry != PYTHON_SESSION:
                return await tool.run(arguments)
            before = sum(self._is_program(other, calls[other]) for other in range(place))
            async with in_session:  # locks are fair, so the programs run in the order of the calls
                assert self.sessions is not None
                return await run_in_session(self.sessions, asked.episode, arguments["code"], earlier + before)

        return await asyncio.gather(*(one(place, call) for place, call in enumerate(calls)))

    def _read(self, place: int, call: Found) -> Result | tuple[Tool, dict[str, Any]]:
        """The tool that a call means with its arguments, or what is wrong with the call."""
        if place >= self.config.max_calls:
            return Result.wrong(f"not run: a turn may make at most {self.config.max_calls} calls")
        if isinstance(call, BadCall):
            return Result.wrong(f"this call cannot be read: {call.why}")
        tool = self._tools.get(call.name)
        if tool is None:
            return Result.wrong(self._no_tool(call.name))
        arguments = typed(call.arguments, tool.parameters) if call.texts else call.arguments
        if why := problems_of(arguments, tool.parameters, strict=tool.strict):
            return Result.wrong(f"{call.name}: {why}")
        return tool, arguments

    def _is_program(self, place: int, call: Found) -> bool:
        """Whether a call runs in the episode's session."""
        read = self._read(place, call)
        return not isinstance(read, Result) and read[0].entry == PYTHON_SESSION

    def _programs_before(self, asked: Asked) -> int:
        """How many programs the episode's session has run in earlier turns."""
        return sum(
            self._is_program(place, call) for turn in range(len(asked.said) - 1) for place, call in enumerate(self._calls(asked, turn))
        )

    def _no_tool(self, name: str) -> str:
        near = get_close_matches(name, self._tools, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        return f"there is no tool {json.dumps(name[:SHOWN_CHARS], ensure_ascii=False)}: the tools are {', '.join(self._tools)}{hint}"

    def leave(self, episode: str) -> None:
        """The episode will make no further call: end what is held for it."""
        if self.sessions is not None:
            self.sessions.leave(episode)

    async def close(self) -> None:
        """End every connection, and the servers that are children of this process."""
        await asyncio.gather(*(server.close() for server in self._servers))
        if self.sessions is not None:
            await self.sessions.close()
