import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.commands.resuming.beginning import where_to_resume
from cluster.record.checkpoint import STATE, STREAM, Checkpoints, Position, faults, read_position, read_stream
from cluster.record.run_dir import refuse_unknown_resume
from tests.toys.run import run_config

FILES = {"rank-0.json": b"counters of rank 0", "rank-1.json": b"counters of rank 1", "optimizer/moments.bin": b"moments"}


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(run_config(tmp_path, run={"dir": str(tmp_path), "keep_checkpoints": 2}, learner={"ranks": 2}))


def position_at(step: int) -> Position:
    return Position(step=step, next_group=3 * step + 2, pending=(3 * step, 3 * step + 1))


def write_ranks(aside: Path) -> None:
    for name, content in FILES.items():
        (aside / name).parent.mkdir(exist_ok=True)
        (aside / name).write_bytes(content)


def save(checkpoints: Checkpoints, step: int) -> Path:
    aside = checkpoints.begin(step)
    write_ranks(aside)
    return checkpoints.commit(aside, position_at(step))


def names(checkpoints: Checkpoints) -> list[str]:
    return sorted(path.name for path in checkpoints.folder.iterdir())


def test_a_position_comes_back_as_it_was_saved(checkpoints: Checkpoints):
    assert read_position(save(checkpoints, 7)) == position_at(7)


def test_what_the_ranks_wrote_is_in_the_newest_checkpoint_and_latest_names_it(checkpoints: Checkpoints):
    save(checkpoints, 5)
    whole = save(checkpoints, 10)
    assert checkpoints.newest() == whole
    assert (checkpoints.folder / "latest").read_text() == whole.name == "step_000010"
    assert {name: (whole / name).read_bytes() for name in FILES} == FILES


def test_the_state_of_a_prompt_stream_comes_back_bitwise_and_is_part_of_what_makes_a_checkpoint_whole(checkpoints: Checkpoints):
    state = {"due": np.random.default_rng(0).random(7), "drawn": np.array(5), "chosen": np.zeros((0, 2), np.int64)}
    before = save(checkpoints, 1)
    aside = checkpoints.begin(2)
    write_ranks(aside)
    whole = checkpoints.commit(aside, position_at(2), state)
    found = read_stream(whole)
    assert {name: (array.dtype, array.shape, array.tobytes()) for name, array in found.items()} == {
        name: (array.dtype, array.shape, array.tobytes()) for name, array in state.items()
    }
    os.truncate(whole / STREAM, (whole / STREAM).stat().st_size - 1)
    assert checkpoints.newest() == before


def test_a_stream_that_keeps_nothing_leaves_no_file(checkpoints: Checkpoints):
    aside = checkpoints.begin(1)
    write_ranks(aside)
    whole = checkpoints.commit(aside, position_at(1), {})
    assert not (whole / STREAM).exists()
    assert read_stream(whole) == {}


def test_a_stream_file_that_would_run_code_when_read_is_refused(checkpoints: Checkpoints):
    whole = save(checkpoints, 1)
    np.savez(whole / STREAM, due=np.array([{"an": "object"}], object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_stream(whole)


def test_a_run_without_checkpoints_has_no_newest(checkpoints: Checkpoints):
    assert checkpoints.newest() is None
    assert checkpoints.whole() == []


@pytest.fixture
def two_saved(checkpoints: Checkpoints, tmp_path: Path) -> Path:
    """A copy of a folder with the checkpoints of steps 1 and 2: copying is cheap, as nothing is flushed."""
    save(checkpoints, 1)
    save(checkpoints, 2)
    return shutil.copytree(checkpoints.folder, tmp_path / "two saved")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=st.dictionaries(st.sampled_from([*FILES, STATE]), st.one_of(st.none(), st.floats(0, 0.99)), min_size=1))
def test_a_checkpoint_with_any_file_missing_or_cut_short_is_never_found(
    checkpoints: Checkpoints, two_saved: Path, damage: dict[str, float | None]
):
    shutil.rmtree(checkpoints.folder)
    shutil.copytree(two_saved, checkpoints.folder)
    before, damaged = (checkpoints.folder / f"step_{step:06d}" for step in (1, 2))
    assert checkpoints.newest() == damaged
    for name, share in damage.items():
        if share is None:
            (damaged / name).unlink()
        else:
            os.truncate(damaged / name, int(share * (damaged / name).stat().st_size))
    assert checkpoints.newest() == before
    with pytest.raises(ValueError, match=r"step_000002 is not a whole checkpoint .*: choose another, or resume with \"auto\""):
        read_position(damaged)


@pytest.mark.parametrize(
    "state", ["[]", "null", "{}", '{"files": {}}', '{"files": {}, "position": {"step": 1}}', '{"position": 3}', "\x00"]
)
def test_a_state_file_that_says_something_else_is_a_clear_error(checkpoints: Checkpoints, state: str):
    whole = save(checkpoints, 1)
    (whole / STATE).write_text(state)
    assert checkpoints.newest() is None
    with pytest.raises(ValueError, match="is not a whole checkpoint"):
        read_position(whole)


def test_a_save_killed_while_the_ranks_write_is_never_found_and_does_not_hinder_the_next(checkpoints: Checkpoints):
    before = save(checkpoints, 1)
    write_ranks(checkpoints.begin(2))
    assert checkpoints.newest() == before
    (checkpoints.begin(2) / "rank-0.json").write_bytes(b"other")
    shutil.rmtree(checkpoints.folder / "step_000002.tmp")
    write_ranks(checkpoints.begin(3))
    assert checkpoints.newest() == before
    save(checkpoints, 4)
    assert names(checkpoints) == ["latest", "step_000001", "step_000004"], "what the killed saves left is cleared away"


def test_a_new_save_begins_with_an_empty_folder(checkpoints: Checkpoints):
    write_ranks(checkpoints.begin(2))
    assert list(checkpoints.begin(2).iterdir()) == []


@pytest.mark.parametrize("survived", range(10))
def test_a_commit_killed_at_any_point_leaves_a_whole_checkpoint_and_a_true_latest(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch, survived: int
):
    old = save(checkpoints, 1)
    steps_left = survived

    def or_die(work):
        def work_or_die(*args, **kwargs):
            nonlocal steps_left
            if steps_left == 0:
                raise Killed
            steps_left -= 1
            return work(*args, **kwargs)

        return work_or_die

    aside = checkpoints.begin(2)
    write_ranks(aside)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", or_die(os.fsync))
        patch.setattr(Path, "rename", or_die(Path.rename))
        patch.setattr(Path, "replace", or_die(Path.replace))
        with pytest.raises(Killed):
            checkpoints.commit(aside, position_at(2))
    newest = checkpoints.newest()
    assert newest is not None
    assert newest == (old if survived < 7 else checkpoints.folder / "step_000002"), "6 flushes come before the rename"
    assert read_position(newest) == position_at(1 if newest == old else 2)
    assert faults(checkpoints.folder / (checkpoints.folder / "latest").read_text()) == []


def test_every_file_is_on_disk_before_the_checkpoint_counts(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch):
    flushed: list[str] = []
    rename, fsync = Path.rename, os.fsync

    def flush(descriptor: int) -> None:
        flushed.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def rename_flushed(path: Path, target: Path) -> Path:
        assert {str(found) for found in path.rglob("*")} | {str(path)} <= set(flushed)
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "rename", rename_flushed)
    save(checkpoints, 1)
    assert flushed[-1] == str(checkpoints.folder)


def test_only_the_newest_are_kept(checkpoints: Checkpoints):
    for step in (5, 10, 15, 20):
        save(checkpoints, step)
    assert names(checkpoints) == ["latest", "step_000015", "step_000020"]


def test_a_damaged_checkpoint_takes_no_place_of_a_whole_one(checkpoints: Checkpoints):
    first = save(checkpoints, 1)
    (save(checkpoints, 2) / "rank-0.json").unlink()
    assert checkpoints.whole() == [first]
    last = save(checkpoints, 3)
    assert checkpoints.whole() == [first, last]


def test_the_only_whole_checkpoint_is_kept_whatever_lies_beside_it(tmp_path: Path):
    checkpoints = Checkpoints(run_config(tmp_path, run={"dir": str(tmp_path), "keep_checkpoints": 1}))
    first = save(checkpoints, 1)
    (checkpoints.folder / "step_000002").mkdir()
    checkpoints.begin(3)
    assert checkpoints.newest() == first
    newest = save(checkpoints, 4)
    assert checkpoints.whole() == [newest]


def test_the_newest_is_found_by_its_number_not_by_its_spelling(checkpoints: Checkpoints):
    save(checkpoints, 999_999)
    latest = save(checkpoints, 1_000_000)
    assert checkpoints.newest() == latest


def test_continuing_from_an_earlier_checkpoint_forgets_later_ones_and_deletes_them_only_once_the_next_is_whole(checkpoints: Checkpoints):
    earlier = save(checkpoints, 5)
    save(checkpoints, 10)
    checkpoints.set_aside_after(5)
    assert checkpoints.newest() == earlier
    assert names(checkpoints) == ["latest", "step_000005", "step_000010.undone"]
    save(checkpoints, 8)
    assert names(checkpoints) == ["latest", "step_000005", "step_000008"]


def test_auto_continues_at_the_newest_whole_checkpoint(tmp_path: Path):
    config = run_config(tmp_path, run={"dir": str(tmp_path), "resume": "auto"})
    assert where_to_resume(config)[0] is None
    save(Checkpoints(config), 3)
    assert where_to_resume(config)[0] == tmp_path / "checkpoints" / "step_000003"


def test_a_named_folder_is_taken_as_an_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    save(Checkpoints(run_config(tmp_path, run={"dir": str(tmp_path)})), 3)
    monkeypatch.chdir(tmp_path)
    config = run_config(tmp_path / "other", run={"dir": str(tmp_path / "other"), "resume": "checkpoints/step_000003"})
    refuse_unknown_resume(config)
    assert where_to_resume(config)[0] == tmp_path / "checkpoints" / "step_000003"


@pytest.mark.parametrize("asked", ["atuo", "runs/none/checkpoints/step_000003"])
def test_a_resume_that_names_nothing_says_what_can_be_named(tmp_path: Path, asked: str):
    config = run_config(tmp_path, run={"dir": str(tmp_path), "resume": asked})
    with pytest.raises(ValueError, match=rf'run\.resume got "{asked}", needed "never" .*, "auto" .* or a checkpoint folder'):
        refuse_unknown_resume(config)


def test_a_save_that_lacks_a_rank_is_no_checkpoint_and_names_it(checkpoints: Checkpoints):
    aside = checkpoints.begin(1)
    write_ranks(aside)
    (aside / "rank-1.json").unlink()
    with pytest.raises(RuntimeError, match=r"step_000001\.tmp lacks rank-1\.json of 2 learner ranks"):
        checkpoints.commit(aside, position_at(1))
    assert checkpoints.newest() is None
