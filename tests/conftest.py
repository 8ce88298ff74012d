"""What several test files share because it is dear to make."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.toys.ranks import RUNS_OF_ONE, RUNS_OF_TWO, run_ranks, write_run


@dataclass(frozen=True)
class RankResults:
    """What learner ranks did in their runs, by run and number of ranks, and the folder with model, config and groups."""

    folder: Path
    found: dict[tuple[str, int], dict[str, Any]]

    def of(self, kind: str) -> dict[tuple[str, int], dict[str, Any]]:
        """The runs of one kind, by the rest of their name."""
        return {(name.split("-")[1], world): result for (name, world), result in self.found.items() if name.startswith(f"{kind}-")}


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> RankResults:
    """Every run on one rank and on two, from the same model and the same groups."""
    folder = tmp_path_factory.mktemp("ranks")
    write_run(folder)
    found = {
        (name, world): result
        for world, runs in ((1, RUNS_OF_ONE), (2, RUNS_OF_TWO))
        for name, result in run_ranks(folder, world, runs).items()
    }
    return RankResults(folder, found)


class DearFilesTogether(LoadScopeScheduling):
    """A file's tests stay in one process, and all tests of the rank fixture in the same: it would be made in each."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "ranks" if "RankResults" in (self.config.rootpath / file).read_text() else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> DearFilesTogether | None:
    """Used by `--dist loadscope`, as the end-to-end tests are."""
    return DearFilesTogether(config, log) if config.getvalue("dist") == "loadscope" else None
