"""Errors of the user's code in words: where in the user's file, and what to do about the common ones."""

import os
import sys
import sysconfig
from difflib import get_close_matches
from pathlib import Path
from traceback import FrameSummary, extract_tb, format_exception

from reward.episodes.transcript import EpisodeError
from reward.own.name import OwnName

OUR_PACKAGES = ("cluster", "configs", "gatewise", "learner", "reward", "rollout")
OUR_FOLDERS = tuple(str(Path(__file__).resolve().parents[2] / package) for package in OUR_PACKAGES)
INSTALLED = tuple(os.path.realpath(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib"))
NO_MEMORY = ("cannot allocate memory", "failed to map segment", "out of memory", "cannot apply additional memory protection")
SHOWN_FRAMES = 20
SEEN = "PATH, HOME, TMPDIR and LD_LIBRARY_PATH"


def own_frame(error: BaseException, file: str | None) -> FrameSummary | None:
    """The innermost frame in the user's file, or, where no frame is in it, in code that is neither installed nor ours."""
    frames = list(extract_tb(error.__traceback__))
    in_file = [frame for frame in frames if file and os.path.realpath(frame.filename) == os.path.realpath(file)]
    theirs = in_file or [frame for frame in frames if is_the_users(frame.filename)]
    return theirs[-1] if theirs else None


def is_the_users(filename: str) -> bool:
    path = os.path.realpath(filename)
    return not filename.startswith("<") and not path.startswith((*OUR_FOLDERS, *INSTALLED))


def where(error: BaseException, file: str | None) -> str:
    """ " (/home/me/my_reward.py:12 in score)", or nothing where no frame is the user's."""
    frame = own_frame(error, file)
    return f" ({frame.filename}:{frame.lineno} in {frame.name})" if frame else ""


def text_of(error: BaseException) -> str:
    """The text of an error. Its `__str__` is the user's code and may fail itself, which must not end the worker."""
    try:
        return str(error)
    except MemoryError:
        raise
    except BaseException as second:
        return f"its text cannot be had, because its __str__ raised {type(second).__name__}"


def named(error: BaseException) -> str:
    """An error's type with its text; of our own error about an environment the text alone."""
    return str(error) if isinstance(error, EpisodeError) else f"{type(error).__name__}: {text_of(error)}"


def print_error(what: str, error: BaseException, file: str | None) -> None:
    """Print an error's last frames to stderr, which the pool writes to its log; of an error that is none of the user's code its text."""
    shown = "".join(format_exception(error, limit=-SHOWN_FRAMES)) if own_frame(error, file) else f"{named(error)}\n"
    print(f"{what}:\n{shown}", file=sys.__stderr__, end="", flush=True)


def at_call(error: BaseException, file: str | None) -> str:
    """An error of a call."""
    hint = environment_hint(error) or memory_hint(error) or iterator_hint(error)
    return f"{named(error)}{where(error, file)}{f': {hint}' if hint else ''}"


def in_the_row(error: BaseException, row: object) -> str:
    """What to do where the error may be about a column that was not kept; else empty."""
    if not isinstance(error, KeyError) or not isinstance(row, dict) or not error.args or error.args[0] in row:
        return ""
    return f"; row has {', '.join(row) or 'no columns'}: for another column, name it in data.keep_fields"


def at_import(own: OwnName, error: BaseException) -> str:
    """An error of an import, with what to do about it."""
    if isinstance(error, ModuleNotFoundError) and own.path is None and f"{own.module}.".startswith(f"{error.name}."):
        return no_such_module(own, str(error.name))
    if isinstance(error, SyntaxError):
        line = f": `{error.text.strip()}`" if error.text else ""
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}{line}"
    what = f"{named(error)}{where(error, str(own.path) if own.path else None)}"
    hint = import_hint(error) or environment_hint(error) or memory_hint(error)
    return f"{what}: {hint}" if hint else what


def import_hint(error: BaseException) -> str:
    """What to do about a module that the user's code lacks, or about code that only a program should run."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name} is not installed for {sys.executable}: install it there, and on every node that scores"
    if isinstance(error, ImportError) and "no known parent package" in str(error):
        return "a file that is named by its path is in no package; write `import x` for a file x.py beside it"
    if isinstance(error, SystemExit):
        return 'it calls sys.exit when it is imported: put what only a program does under `if __name__ == "__main__":`'
    return ""


def no_such_module(own: OwnName, missing: str) -> str:
    """Why Python does not find the module itself."""
    here = Path.cwd()
    if hint := hidden_by_ours(own):
        return f"there is no module {missing!r}; {hint}"
    files = sorted(file.stem for file in here.glob("*.py"))
    near = get_close_matches(missing, files, 1)
    hint = f"; did you mean {near[0]}:{own.function}?" if near else f"; modules in {here}: {', '.join(files[:10]) or 'none'}"
    return f"there is no module {missing!r}, neither in {here} nor on PYTHONPATH nor installed{hint} (or write path/to/file.py:function)"


def hidden_by_ours(own: OwnName) -> str:
    """What to do where the module's first part is a package of ours, which comes before a folder of the user's; else empty."""
    top = own.module.partition(".")[0]
    if top not in OUR_PACKAGES:
        return ""
    return f"{top!r} is Gatewise's own package: name your file by its path, such as {own.module.replace('.', '/')}.py:{own.function}"


def environment_hint(error: BaseException) -> str:
    """What to do where a variable of the environment is missing: workers see only a few."""
    frames = extract_tb(error.__traceback__)
    if isinstance(error, KeyError) and frames and frames[-1].filename in (os.__file__, "<frozen os>"):
        return f"reward workers see only the variables {SEEN}; read the value from a file"
    return ""


def iterator_hint(error: BaseException) -> str:
    """What to do where a `next()` in a generator has found its iterator empty, which Python turns into a RuntimeError."""
    ran_out = isinstance(error, RuntimeError) and isinstance(error.__cause__, StopIteration)
    return "a next() has run out: give it a default; an environment ends with `return`" if ran_out else ""


def memory_hint(error: BaseException) -> str:
    if isinstance(error, MemoryError) or any(words in text_of(error).lower() for words in NO_MEMORY):
        return "a worker may use reward.memory_mb of address space: raise it, and count that every worker has a copy of what it writes to"
    return ""
