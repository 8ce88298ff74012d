"""Ray's token: whether one that is asked for exists, and who may read it. It is never shown."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cluster.commands.checks.folder import nearest
from cluster.commands.doctor.diagnosis import Finding, error, ok, warning
from cluster.commands.doctor.subject import Subject

MODES = ("token", "disabled")
TOKEN_ADVICE = "export RAY_AUTH_MODE=token, and the same ~/.ray/auth_token on all nodes"


def check_token(subject: Subject) -> Iterator[Finding]:
    """Where Ray finds its token."""
    mode, path = os.environ.get("RAY_AUTH_MODE"), os.environ.get("RAY_AUTH_TOKEN_PATH")
    if mode is not None and mode.lower() not in MODES:
        yield warning(f"RAY_AUTH_MODE={mode} is unknown to Ray, which then uses no token", "set it to token, or to disabled")
    where, problem = source_of_token(path)
    if problem:
        yield error(problem, "correct or unset RAY_AUTH_TOKEN_PATH")
    elif where:
        if others_may_read(file := Path(where)):
            yield warning(f"other users may read the token in {file}, and with it run code on the cluster", f"chmod 600 {file}")
        else:
            yield ok(f"from {where}")
    elif mode and mode.lower() == "token" and subject.joins:
        what = "RAY_AUTH_MODE asks for a token, and there is none in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
        yield error(what, "copy the cluster's token to ~/.ray/auth_token, or set RAY_AUTH_TOKEN")
    elif subject.joins:
        yield warning("no token: a cluster that asks for one refuses this run, one that does not runs anybody's code", TOKEN_ADVICE)
    else:
        yield from home_for_token()


def others_may_read(file: Path) -> bool:
    """Whether another user may read a file: by its own mode, and by those of all folders above it."""
    if not file.is_file() or not file.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return False
    return all(folder.stat().st_mode & (stat.S_IXGRP | stat.S_IXOTH) for folder in file.absolute().parents)


def source_of_token(path: str | None) -> tuple[str | None, str | None]:
    """Where Ray finds its token, and what is wrong with the place that a variable names; Ray looks in this order."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return "RAY_AUTH_TOKEN", None
    if path:
        try:
            filled = bool(Path(path).read_text().strip())
        except OSError as failed:
            return None, f"RAY_AUTH_TOKEN_PATH names {path}, which cannot be read ({failed.strerror})"
        return (path, None) if filled else (None, f"RAY_AUTH_TOKEN_PATH names {path}, which is empty")
    file = Path.home() / ".ray" / "auth_token"
    try:
        return (str(file), None) if file.read_text().strip() else (None, None)
    except OSError:  # absent, or unreadable, which is the same to Ray
        return None, None


def home_for_token() -> Iterator[Finding]:
    """A local Ray makes its token itself, if it can write it."""
    home = Path.home()
    there = nearest(home / ".ray")
    if os.environ.get("RAY_AUTH_MODE", "token").lower() == "token" and not os.access(there, os.W_OK):
        yield error(
            f"Ray writes a token for its local cluster to {home / '.ray'}, which this user cannot write",
            "export HOME=/a/folder/of/yours, or RAY_AUTH_MODE=disabled",
        )
    else:
        yield ok(f"none yet; a local Ray makes one in {home / '.ray'}")
