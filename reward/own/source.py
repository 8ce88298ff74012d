"""Imports the user's code: a module that Python finds, or a file by its path."""

import ast
import importlib
import socket
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from configs.errors import in_one_line
from reward.own.name import OwnCodeError, OwnName
from reward.own.words import at_import


def import_own(own: OwnName) -> ModuleType:
    """The module of that name, imported once a process; OwnCodeError says why it cannot be."""
    if own.module in sys.modules and own.path is not None:
        return sys.modules[own.module]
    try:
        return importlib.import_module(own.module) if own.path is None else import_file(own, own.path)
    except OwnCodeError:
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise OwnCodeError(f"checker {own.whole!r} cannot be imported: {in_one_line(at_import(own, error))}") from error


def import_file(own: OwnName, path: Path) -> ModuleType:
    """The file as a module under a name of its own, so that two files of one name do not clash and nothing of ours is hidden.

    Its folder stays on the import path, behind everything else: modules beside the file can be imported, also later, and hide nothing.
    """
    if not path.is_file():
        raise OwnCodeError(f"checker {own.whole!r}: {describe_missing(path)}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    refuse_other_neighbours(own, path)
    spec = spec_from_file_location(own.module, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[own.module] = module  # before it runs, as `import` does: dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[own.module]
        raise
    return module


def describe_missing(path: Path) -> str:
    """Why there is no file, for a person who may have started on another machine or in another folder."""
    if path.is_dir():
        return f"{path} is a folder: name a .py file in it"
    beside = sorted(file.name for file in path.parent.glob("*.py"))[:10] if path.parent.is_dir() else []
    there = f"; {path.parent} has {', '.join(beside)}" if beside else ""
    return (
        f"no file {path} on {socket.gethostname()}{there}. A relative path starts at the folder where the run was started. On a cluster "
        "every node that scores needs the file: put it into the folder that `ray job submit --working-dir` ships and name it relative to "
        "that folder, or put it on a path that all nodes share"
    )


def refuse_other_neighbours(own: OwnName, path: Path) -> None:
    """Raise OwnCodeError where the file imports a module that lies beside it, but Python would find another of that name."""
    for name in sorted(imported_names(path)):
        places = (path.parent / name / "__init__.py", path.with_name(f"{name}.py"))
        beside = [file for file in places if file.is_file() and file != path]
        if not beside:
            continue
        known = sys.modules.get(name)
        spec = PathFinder.find_spec(name) if known is None else getattr(known, "__spec__", None)
        origin = getattr(spec, "origin", None)
        if origin is None or Path(origin).resolve() != beside[0].resolve():
            raise OwnCodeError(
                f"checker {own.whole!r} imports {name}, and {beside[0]} lies beside it, but Python finds {origin or 'its own module'} "
                f"first: rename {beside[0].name}"
            )


def imported_names(path: Path) -> set[str]:
    """The top-level modules that a file imports; none of a file that does not parse, which its import will report."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names
