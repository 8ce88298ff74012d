"""A run that fails, started as a user starts it: the last line is the cause, with at most 30 lines of explanation."""

from pathlib import Path

import pytest

from tests.toys.drive import driving, train
from tests.toys.ended import ended

pytestmark = pytest.mark.end_to_end


def test_a_model_that_no_kernel_can_run_is_named_from_the_log_of_the_engine_core(tmp_path: Path) -> None:
    """The front of the engine only says that its core died, and to look above. Here vLLM alone is told of heads that it cannot run."""
    settings = ("rollout.vllm.hf_overrides={head_dim=24}", "rollout.vllm.load_format=dummy")
    with driving(train(tmp_path / "run", *settings), tmp_path) as driver:
        lines = ended(driver)
    assert lines[-1].startswith("gatewise: RuntimeError: Unsupported CPU attention configuration: head_dim=24")
    assert "model.path (.cache/tiny/model now)" in "\n".join(lines)
