"""A direct line to an actor of the same node, where a call through Ray costs more CPU time than what is asked.

```
engine ── number, length, pickle of (method, questions) ──► reward actor     a Unix socket in a folder that only this user can enter;
driver ──────────────────────────────────────────────────► engine           the folder is gone once the one that asks has come
       ◄── number, length, pickle of the answers ──────────┘
```
Whoever asks gets None where the line cannot answer: on another node, after a death, after an exception. The same question then goes
through Ray, which knows how to wait for an actor that starts again and whose exceptions name it.
"""

import asyncio
import pickle
import shutil
import struct
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

FRAME = struct.Struct("!QQ")  # number of the question, bytes that follow; no bytes: ask through Ray
COMES_S = 60.0  # for the one that asks to come, after which nobody waits for it

Call = Callable[[str, Sequence[Any]], Awaitable[list[Any]]]  # a method of the actor by its name, questions → answers


async def listen(answer: Call) -> str:
    """Wait in the background for the one that asks; returns the path to come to, "" where this node has no place for a socket."""
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix="gatewise-"))  # of mode 0700, as pickles are read
        return await _listen_in(folder, answer)
    except OSError:  # no folder for temporary files, or one whose path is too long for a socket
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        return ""


async def _listen_in(folder: Path, answer: Call) -> str:

    async def come(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        stop()
        await serve(reader, writer, answer)

    def stop() -> None:
        waiting.cancel()
        server.close()
        shutil.rmtree(folder, ignore_errors=True)

    server = await asyncio.start_unix_server(come, folder / "line")
    waiting = asyncio.get_running_loop().call_later(COMES_S, stop)
    return str(folder / "line")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Call) -> None:
    """Answer its questions, all that are asked at the same time, until it is gone."""

    async def one(number: int, data: bytes) -> None:
        try:
            method, questions = pickle.loads(data)
            said = pickle.dumps(await answer(method, questions), pickle.HIGHEST_PROTOCOL)
        except Exception:  # who asked does so again through Ray, which brings the exception and its traceback
            said = b""
        writer.write(FRAME.pack(number, len(said)) + said)

    at_work: set[asyncio.Task[None]] = set()
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            number, length = FRAME.unpack(await reader.readexactly(FRAME.size))
            task = asyncio.create_task(one(number, await reader.readexactly(length)))
            at_work.add(task)
            task.add_done_callback(at_work.discard)
    writer.close()


class Line:
    """The end that asks. It opens with the first question, and again after the other end has died and come back."""

    def __init__(self, listening: Callable[[], Awaitable[str]]) -> None:
        """`listening` has the other end listen, and returns its path."""
        self._listening = listening
        self._writer: asyncio.StreamWriter | None = None
        self._opening: asyncio.Future[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._off = False  # the other end is on another node

    async def ask(self, method: str, questions: Sequence[Any]) -> list[Any] | None:
        """The answers; None where Ray has to be asked."""
        await self._open()
        if self._writer is None:
            return None
        number, data = next(self._numbers), pickle.dumps((method, questions), pickle.HIGHEST_PROTOCOL)
        self._asked[number] = answered = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(FRAME.pack(number, len(data)) + data)
            said = await answered
        finally:
            del self._asked[number]
        answers: list[Any] | None = pickle.loads(said) if said else None
        return answers

    async def close(self) -> None:
        """Hang up."""
        self._off = True
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _open(self) -> None:
        """Open it unless it is open or cannot be; callers of the same moment wait for one attempt."""
        if self._writer is None and not self._off:
            if self._opening is None:
                self._opening = asyncio.ensure_future(self._connect())
                self._opening.add_done_callback(self._opened)
            await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Future[None]) -> None:
        self._opening = None
        opening.exception()  # raised to everybody who waits for it; nobody does after a cancellation

    async def _connect(self) -> None:
        if not (path := await self._listening()):
            self._off = True
            return
        try:
            reader, self._writer = await asyncio.open_unix_connection(path)
        except OSError:
            self._off = True
            return
        self._reading = asyncio.create_task(self._read(reader))

    async def _read(self, reader: asyncio.StreamReader) -> None:
        """Hand out answers until the other end is gone; then nobody waits any more."""
        try:
            while True:
                number, length = FRAME.unpack(await reader.readexactly(FRAME.size))
                said = await reader.readexactly(length)
                if (waiting := self._asked.get(number)) is not None and not waiting.done():
                    waiting.set_result(said)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.close()
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_result(b"")
