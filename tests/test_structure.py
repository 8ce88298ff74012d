import ast
import statistics
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "configs": ("configs",),
    "rollout": ("configs", "rollout"),
    "reward": ("configs", "rollout.types", "rollout.transcript.episode", "reward"),
    "learner": (
        "configs",
        "rollout.delta",
        "rollout.transfer",
        "rollout.types",
        "learner",
    ),
    "cluster": ("configs", "rollout", "reward", "learner", "cluster"),
    "gatewise": ("configs", "rollout", "reward", "learner", "cluster", "gatewise"),
}
FOLDERS = tuple(MAY_IMPORT)
WITH_ROOMS = ("rollout", "learner", "cluster")
ONLY_IN = {
    "ray": ("cluster/actors/",),
    "vllm": (
        "rollout/engine/",
        "rollout/worker/",
        "rollout/transfer/nccl_group.py",
        "learner/weights/nccl.py",
    ),
    "deepspeed": ("learner/model/zero.py",),
}
# Where anything at all may be raised by somebody else's code, and is passed on: to the user, to the caller, or as a typed failure.
CATCH_ALL = {
    "reward/tools/mcp_link.py",
    "cluster/cli.py",
    "gatewise/commands.py",
    "gatewise/errors.py",
    "cluster/actors/engine_actor.py",
    "cluster/actors/fleet/door.py",
    "cluster/actors/fleet/line.py",
    "cluster/actors/fleet/questions.py",
    "cluster/commands/doctor/table.py",
    "cluster/commands/selfcheck/attempt.py",
    "cluster/commands/validate.py",
    "cluster/record/metrics/trackers/follow.py",
    "cluster/record/saves/saver.py",
    "cluster/report/responses/pieces.py",
    "reward/held/keeper.py",
    "reward/held/sessions.py",
    "reward/held/world_main.py",
    "reward/own/function.py",
    "reward/own/source.py",
    *(f"reward/programs/{name}.py" for name in ("cell", "child_main", "objects", "session", "tester")),
    "reward/workers/pool.py",
    "reward/workers/supervisor.py",
    "reward/workers/template_main.py",
    "reward/episodes/replay.py",
    "reward/own/words.py",
    "reward/workers/worker_main.py",
    "rollout/chat/behind.py",
    "rollout/chat/chat.py",
    "rollout/data/hub.py",
    "rollout/engine/requests.py",
    "rollout/worker/patch_receiver.py",
    "rollout/data/saved.py",
    "rollout/chat/template.py",
    "rollout/worker/weight_receiver.py",
}
LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FILE = 300, 60, 120
MOST_ENTRIES = 15  # of a folder
SPEAKS_FOR_ITSELF = 10  # lines below which a function's name may be all there is to say

SOURCES = {str(path.relative_to(ROOT)): path.read_text() for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}
OTHERS = {str(path.relative_to(ROOT)): path.read_text() for folder in ("tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")}


@cache
def nodes(tree: ast.Module) -> list[ast.AST]:
    """Every node of a file."""
    return list(ast.walk(tree))


@cache
def imports(tree: ast.Module) -> list[str]:
    """Every module that a file imports, at its top or inside a function."""
    found: list[str] = []
    for node in nodes(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append("." * node.level + (node.module or ""))
    return found


def definitions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """The public classes, functions and methods of a file; not what is hidden inside a function."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node)


def lines_of(node: ast.AST) -> int:
    return node.end_lineno - node.lineno + 1


def within(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def test_a_folder_imports_only_what_stands_left_of_it():
    wrong = [
        f"{name} imports {module}"
        for name, tree in TREES.items()
        for module in imports(tree)
        if module.startswith(".")
        or (within(module, (*FOLDERS, "tests", "benchmarks")) and not within(module, MAY_IMPORT[name.split("/")[0]]))
    ]
    assert wrong == []


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_heavy_library_is_imported_in_its_own_places_only(library: str):
    importing = [name for name, tree in TREES.items() if any(within(module, (library,)) for module in imports(tree))]
    assert importing
    assert [name for name in importing if not name.startswith(ONLY_IN[library])] == []


@pytest.mark.parametrize("folder", ["configs", "reward"])
def test_configs_and_checkers_do_without_torch(folder: str):
    heavy = ("torch", "transformers", "vllm", "deepspeed", "ray")
    assert [name for name in TREES if name.startswith(f"{folder}/") and any(within(m, heavy) for m in imports(TREES[name]))] == []


def unit(module: str) -> str:
    """What counts as one thing in an order of imports: a room, or a file that stands beside the rooms of its folder."""
    folder, *inside = module.split(".")
    return ".".join((folder, *inside[:1]))


@cache
def arrows(folder: str) -> set[tuple[str, str]]:
    """Which units of a folder import which others of it."""
    found = {
        (unit(name.removesuffix(".py").replace("/", ".")), unit(module))
        for name, tree in TREES.items()
        if name.startswith(f"{folder}/")
        for module in imports(tree)
        if module.startswith(f"{folder}.")
    }
    return {(start, end) for start, end in found if start != end}


def circle(edges: set[tuple[str, str]]) -> list[str]:
    """Units that import each other in the end, empty where arrows go one way."""
    left = set(edges)
    while outside := {end for _, end in left} ^ {start for start, _ in left}:
        left = {(start, end) for start, end in left if start not in outside and end not in outside}
    return sorted({start for start, _ in left})


@pytest.mark.parametrize("folder", FOLDERS)
def test_arrows_between_the_rooms_of_a_folder_go_one_way(folder: str):
    assert circle(arrows(folder)) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_file_imports_itself_through_others(folder: str):
    edges = {(name.removesuffix(".py").replace("/", "."), module) for name, tree in TREES.items() for module in imports(tree)}
    assert circle({(start, end) for start, end in edges if start.startswith(f"{folder}.") and end.startswith(f"{folder}.")}) == []


def drawn(folder: str) -> str:
    """The arrows of a folder as `docs/architecture.md` lists them: a row for each unit, those that stand on most others first."""
    below: dict[str, list[str]] = {}
    for start, end in sorted(arrows(folder)):
        below.setdefault(start.split(".")[1], []).append(end.split(".")[1])

    def height(name: str) -> int:
        return max((1 + height(under) for under in below.get(name, ())), default=0)

    rows = sorted(below, key=lambda name: (-height(name), name))
    return "\n".join([f"{folder}/", *(f"  {name} → {', '.join(below[name])}" for name in rows)])


@pytest.mark.parametrize("folder", WITH_ROOMS)
def test_the_arrows_between_rooms_are_those_that_the_docs_list(folder: str):
    text = (ROOT / "docs/architecture.md").read_text()
    assert f"\n{drawn(folder)}\n" in text, f"docs/architecture.md, section Arrows between rooms, must list\n\n{drawn(folder)}\n"


def test_the_record_of_a_run_and_its_reward_tools_import_without_ray_torch_vllm_or_deepspeed():
    light = ("cluster/record/", "cluster/commands/rewards/", "cluster/commands/runs/")
    modules = [name.removesuffix(".py").replace("/", ".") for name in TREES if name.startswith(light) and not name.endswith("__init__.py")]
    assert len(modules) > 10, "the rooms must be found for this to mean something"
    imported = f"import sys, {', '.join(modules)}; print([name for name in ('ray', 'torch', 'vllm', 'deepspeed') if name in sys.modules])"
    fresh = subprocess.run([sys.executable, "-c", imported], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (fresh.stdout.strip(), fresh.stderr) == ("[]", "")


@pytest.mark.parametrize("folder", WITH_ROOMS)
def test_a_folder_can_be_taken_in_at_a_glance(folder: str):
    entries: dict[str, set[str]] = {}
    for name in SOURCES:
        *above, _ = parts = name.split("/")
        for depth in range(1, len(parts)):
            entries.setdefault("/".join(above[:depth]), set()).add(parts[depth])
    assert {place: len(names) for place, names in entries.items() if place.startswith(folder) and len(names) > MOST_ENTRIES} == {}


def test_every_init_file_is_empty():
    inits = {name: text for name, text in (SOURCES | OTHERS).items() if name.endswith("__init__.py")}
    assert len(inits) >= len(FOLDERS)
    assert [name for name, text in inits.items() if text] == ["gatewise/__init__.py"], "only that package has names of its own to give"


def test_files_and_functions_are_short():
    texts = SOURCES | OTHERS
    sizes = {name: len(text.splitlines()) for name, text in texts.items() if text}
    assert {name: size for name, size in sizes.items() if size > LONGEST_FILE} == {}
    assert statistics.median(size for name, size in sizes.items() if name in SOURCES) <= MEDIAN_FILE
    functions = [
        (name, node.name, lines_of(node))
        for name, text in texts.items()
        for node in nodes(TREES.get(name) or ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and lines_of(node) > LONGEST_FUNCTION
    ]
    assert functions == []


def test_every_module_and_class_and_every_function_that_is_not_short_says_what_it_is():
    silent = [name for name, tree in TREES.items() if SOURCES[name] and not ast.get_docstring(tree)]
    silent += [
        f"{name}: {node.name}"
        for name, tree in TREES.items()
        for node in definitions(tree)
        if not ast.get_docstring(node) and (isinstance(node, ast.ClassDef) or (lines_of(node) >= SPEAKS_FOR_ITSELF and not is_rule(node)))
    ]
    assert silent == []


def is_rule(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """A rule of a config is named as the rule it enforces."""
    return node.returns is not None and ast.unparse(node.returns) == "Iterator[Problem]"


def test_nothing_is_caught_blindly_but_where_foreign_code_runs():
    blind = {
        name
        for name, tree in TREES.items()
        for node in nodes(tree)
        if isinstance(node, ast.ExceptHandler) and (node.type is None or {"Exception", "BaseException"} & names_of(node.type))
    }
    assert blind == CATCH_ALL


def names_of(kinds: ast.expr) -> set[str]:
    """The exceptions that a handler catches, by name."""
    return {ast.unparse(kind) for kind in (kinds.elts if isinstance(kinds, ast.Tuple) else [kinds])}


def test_no_exception_is_swallowed_with_a_bare_except():
    bare = [name for name, tree in TREES.items() if any(isinstance(node, ast.ExceptHandler) and node.type is None for node in nodes(tree))]
    assert bare == []


LOSS = tuple(f"learner/loss/{name}.py" for name in ("advantages", "reductions", "surrogates", "correction", "kl", "objective"))


def test_the_family_of_objectives_is_small():
    assert sum(len(SOURCES[name].splitlines()) for name in LOSS) <= 700
    functions = [
        (name, node.name, lines_of(node))
        for name in LOSS
        for node in nodes(TREES[name])
        if isinstance(node, ast.FunctionDef) and lines_of(node) > 30
    ]
    assert functions == []


def identifiers(tree: ast.Module) -> Iterator[str]:
    """Every name that code uses; what docstrings and comments speak of is not among them."""
    for node in nodes(tree):
        fields = (getattr(node, field, None) for field in ("id", "attr", "arg", "name", "asname"))
        yield from (field for field in fields if isinstance(field, str))
    yield from imports(tree)


@pytest.mark.parametrize("name", LOSS)
def test_the_loss_never_sees_how_an_update_is_divided(name: str):
    divided = ("rank", "world", "micro", "process_group", "distributed", "deepspeed", "plan")
    assert [word for word in identifiers(TREES[name]) if any(part in word.lower() for part in divided)] == []
