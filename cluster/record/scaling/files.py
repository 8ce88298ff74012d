"""The two small files in a run directory by which a user and a running driver agree on the number of engines.

    engines.json          a request: `gatewise engines RUN --count N` writes it, the driver reads and removes it
    engines-status.json   the driver's answer, and where each engine is

Both are replaced whole and checked when they are read, since anybody who may write to the run directory can write them.
"""

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, StrictStr, ValidationError

from configs.errors import in_one_line
from configs.section import Count, Int, Number, Section, Whole

REQUEST, STATUS = "engines.json", "engines-status.json"
LARGEST = {REQUEST: 4096, STATUS: 1 << 22}  # bytes
AUTO: Literal["auto"] = "auto"
Asked = Count | Literal["auto"]  # how many engines; "auto" follows the nodes again
Text = Annotated[StrictStr, Field(max_length=10_000)]
File = TypeVar("File", bound=Section)


class BadFile(ValueError):
    """A file that is no request, or no status; the message says which and why."""


class Request(Section):
    """How many engines a user wants, under a number of its own by which the answer is recognised."""

    count: Asked
    id: Annotated[StrictStr, Field(pattern="^[0-9a-f]{32}$")]


class Answer(Section):
    """What became of the newest request."""

    id: Text
    said: Text
    refused: bool


class EngineState(Section):
    """One engine as the driver sees it."""

    name: Text
    place: Whole
    life: Whole  # 0, then 1 after its first replacement
    health: Text
    version: Int | None  # of the weights that it serves; None until a publish has proven them
    node: Text  # its address
    since: Number  # when it came to this life and health, in seconds since 1970


class Status(Section):
    """The engines of a running run."""

    wanted: Count
    fewest: Count
    most: Whole | None  # what a request may ask for; None where only the cluster's size limits it
    follows: bool  # the number of engines grows by itself when nodes join
    engines: list[EngineState]
    answer: Answer | None


def new_request(count: int | Literal["auto"]) -> Request:
    """A request with a number of its own; ValidationError for a count that none can be."""
    return Request(count=count, id=secrets.token_hex(16))


def write(folder: Path, name: str, content: Section) -> None:
    """Replace a file of the run directory whole, so that no reader sees half of it; OSError where the disk refuses it.

    Several users may write at once, so each writes aside under a name of its own. It is not flushed: a power cut ends its driver too.
    """
    aside = folder / f".{name}.{secrets.token_hex(8)}"
    try:
        aside.write_text(content.model_dump_json(indent=1) + "\n", encoding="utf-8")
        aside.replace(folder / name)
    except OSError:
        aside.unlink(missing_ok=True)
        raise


def read(folder: Path, name: str, kind: type[File]) -> File | None:
    """What a file says, None where there is none; BadFile for everything that `write` could not have written."""
    path = folder / name
    try:
        try:
            found = read_regular(path, LARGEST[name])
        except OSError as error:
            if error.errno != errno.ESTALE:  # replaced on another node since its name was looked up
                raise
            found = read_regular(path, LARGEST[name])
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadFile(f"{path} cannot be read ({error.strerror})") from error
    try:
        return kind.model_validate_json(found, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = in_one_line(f"{where}: {first['msg']}" if where else first["msg"])
        raise BadFile(f"{path} is malformed ({said:.200})") from error


def read_regular(path: Path, most: int) -> bytes:
    """The bytes of a regular file; BadFile for a link, a pipe or a device, which could block or lead elsewhere, and above `most` bytes."""
    if path.is_symlink():
        raise BadFile(f"{path} is a link, no file of its own")
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise BadFile(f"{path} is no regular file")
        found = file.read(most + 1)
    if len(found) > most:
        raise BadFile(f"{path} has more than {most} bytes")
    return found


def forget(folder: Path) -> None:
    """Remove both files: what was asked of an earlier driver is not asked of this one."""
    for name in (REQUEST, STATUS):
        (folder / name).unlink(missing_ok=True)
