"""Files of a run that something else has damaged: named before anything is started, with what to do."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.cli import main
from cluster.record.ledger import Ledger
from cluster.record.saves.damage import refuse_damaged_record
from configs.errors import CheckpointError
from tests.cluster.test_validate import config, model, refused, with_checkpoint  # noqa: F401 - fixtures
from tests.configs.test_configs import config_with


def junk_in_the_middle(raw: bytes) -> bytes:
    return raw[:4096] + b"\xa5" * 4096 + raw[8192:]


@pytest.mark.parametrize("damage", [lambda raw: b"junk" * 2000, junk_in_the_middle, lambda raw: raw[: len(raw) // 2]])
@pytest.mark.parametrize("resume", ["never", "auto"])
def test_a_damaged_ledger_is_named(tmp_path: Path, damage: Callable[[bytes], bytes], resume: str) -> None:
    path = tmp_path / "ledger.db"
    book = Ledger(path)
    book.begin(0, 0, ())
    book.close()
    asked = config_with(f"run.dir={tmp_path}", f"run.resume={resume}")
    refuse_damaged_record(asked)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"^{path} is damaged \(.*run\.from = \"{tmp_path}\"$"):
        refuse_damaged_record(asked)


@pytest.mark.parametrize("name", ["metrics.jsonl", "layers.jsonl", "health.jsonl", "warnings.jsonl", "timeline.jsonl"])
@pytest.mark.parametrize(
    ("raw", "damaged"),
    [
        (b'{"step": 1}\n{"st', False),
        (b'{"step": 1}\n[2]\n', True),
        (b'{"stop": 1}\n', True),
        (b'{"step": null}\n', True),
        (b"\xff\xfe\x00junk", True),
    ],
)
def test_damaged_lines_are_named_where_a_run_goes_on(tmp_path: Path, name: str, raw: bytes, damaged: bool) -> None:
    (tmp_path / name).write_bytes(raw)
    refuse_damaged_record(config_with(f"run.dir={tmp_path}"))
    asked = config_with(f"run.dir={tmp_path}", "run.resume=auto")
    if not damaged:
        return refuse_damaged_record(asked)
    with pytest.raises(CheckpointError, match=f"^{tmp_path / name} is damaged"):
        refuse_damaged_record(asked)
    return None


def test_validate_and_train_refuse_a_damaged_ledger(capsys: pytest.CaptureFixture[str], config: str) -> None:  # noqa: F811
    with_checkpoint(config)
    path = Path(config).parent / "run" / "ledger.db"
    path.write_bytes(b"junk" * 2000)
    (said,) = refused(capsys, config, "run.resume=auto")[1]
    assert said.startswith(f"{path} is damaged (file is not a database)")
    with pytest.raises(SystemExit):
        main(["train", config, "run.resume=auto"])  # without Ray, which the fixture refuses to start
    assert f"{path} is damaged (file is not a database)" in capsys.readouterr().err
