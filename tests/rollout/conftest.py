"""One real engine for the tests of several files."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.toys.ranks import write_run


@pytest.fixture(scope="session")
def captured_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a config, and what an engine of both answered."""
    folder = tmp_path_factory.mktemp("captured")
    write_run(folder)
    model = folder / "model" / "config.json"
    model.write_text(model.read_text().replace('"max_position_embeddings": 128', '"max_position_embeddings": 512'))
    words = [sys.executable, "-m", "tests.toys.capture_worker", str(folder)]
    ended = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return folder


@pytest.fixture(scope="session")
def answered(captured_folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = pickle.loads((captured_folder / "captured.pickle").read_bytes())  # written by the test itself
    return found
