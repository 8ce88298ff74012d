"""What several test files share because it takes long to make, and in which order `make test` starts it."""

import gc
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Before torch is imported: two workers share the cores, and torch's further threads only spin for each other, at three times the CPU time.
os.environ.setdefault("OMP_NUM_THREADS", "1")

RUNS = "tests/runs"
# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Scopes that take twenty seconds or more, the longest first: the short ones behind them keep both workers busy to the end.
LONGEST = (
    f"{RUNS}/test_runs.py",
    "ranks",
    f"{RUNS}/test_stopped_runs.py",
    f"{RUNS}/test_nccl.py",
    f"{RUNS}/test_selfcheck.py",
    f"{RUNS}/test_wide.py",
    f"{RUNS}/test_families.py",
    f"{RUNS}/test_from_python.py",
    f"{RUNS}/test_jobs.py",
    f"{RUNS}/test_reward_failures.py",
    f"{RUNS}/test_failures.py",
    "tests/reward/test_reward_leaks.py",
    "tests/reward/test_hostile_math.py",
    "tests/rollout/test_captured_experts.py",
)
WHOLE_FILE = re.compile(r"^pytestmark = .*\bend_to_end\b", re.MULTILINE)


@dataclass(frozen=True)
class RankResults:
    """The results of learner ranks, by run and number of ranks, and the folder with model, config and groups."""

    folder: Path
    found: dict[tuple[str, int], dict[str, Any]]

    def of(self, kind: str) -> dict[tuple[str, int], dict[str, Any]]:
        """The runs of one kind, by the rest of their name."""
        return {(name.split("-")[1], world): result for (name, world), result in self.found.items() if name.startswith(f"{kind}-")}


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> RankResults:
    """Every run on one rank, on two and on four, from the same model and the same groups."""
    # Imports torch and transformers, which many a test, and the process that only hands out tests, never need.
    from tests.toys.ranks import run_ranks, write_run

    folder = tmp_path_factory.mktemp("ranks")
    write_run(folder)
    return RankResults(folder, run_ranks(folder))


def scope_of(root: Path, nodeid: str) -> str:
    """Tests of one scope run in one process: those of a file, and all that use the rank fixture, which each process would make anew."""
    file = nodeid.partition("::")[0]
    return "ranks" if "RankResults" in (root / file).read_text() else file


class SharedFixtures(LoadScopeScheduling):
    """Hands out whole scopes, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(self.config.rootpath, nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFixtures | None:
    """Used by `--dist loadscope`, as the end-to-end tests are."""
    if config.getvalue("dist") != "loadscope":
        return None
    config.option.loadscopereorder = False  # xdist would start files with few tests last, and whole runs are such files
    return SharedFixtures(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order the end-to-end tests: the longest scopes first, then other whole runs, then files by their number of tests."""
    if config.option.markexpr != "end_to_end":
        return
    scopes = [scope_of(config.rootpath, item.nodeid) for item in items]
    first = [*LONGEST, *sorted({scope for scope in scopes if scope.startswith(RUNS)} - set(LONGEST))]
    place = {scope: (first.index(scope) if scope in first else len(first), -scopes.count(scope), scope) for scope in set(scopes)}
    order = sorted(range(len(items)), key=lambda i: place[scopes[i]])
    items[:] = [items[i] for i in order]


def pytest_configure() -> None:
    """Collect no garbage while tests are collected: they are none, and to walk them takes a quarter of that time."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Collect garbage again, but skip the tests and libraries that are there by now."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Thaw them: libraries report what is left of them at exit as leaks."""
    gc.unfreeze()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files of which `-m` would drop every test: to collect them costs their imports."""
    if not collection_path.name.startswith("test_"):
        return None
    text = collection_path.read_text()
    match config.option.markexpr:
        case "end_to_end":
            return "end_to_end" not in text or None
        case "not end_to_end":
            return WHOLE_FILE.search(text) is not None or None
    return None
