"""Saves beside training, over toy ranks and real checkpoints: what training waits for, and what a disk that fails costs."""

import asyncio
import shutil
from pathlib import Path

import pytest

from cluster.record.saves.saver import NotSaved
from cluster.stop import Stopped
from configs.sections.placement import PlacementConfig
from tests.toys.run import run_config
from tests.toys.saves import FULL, WORDS, Site, at


def test_training_waits_for_the_copy_alone_and_the_next_due_save_for_the_write(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        site.ranks.gate.clear()
        await site.learn(1, 2, 3, 4, 5, 6, 7)
        assert site.ranks.done == ["snapshot 4"]
        next_due = asyncio.ensure_future(site.learn(8))
        await asyncio.sleep(0.05)
        assert not next_due.done()
        site.ranks.gate.set()
        await next_due
        await site.learn(9)
        await site.saver.finish()

    site = at(tmp_path, work)
    assert site.ranks.done == ["snapshot 4", "write 4", "snapshot 8", "write 8", "snapshot 9", "write 9"]
    assert site.saved() == {"step_000008": "8", "step_000009": "9"}
    assert site.said == []


def test_a_full_disk_is_said_after_every_step_and_training_goes_on_until_there_is_room(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        await site.learn(*range(1, 6))
        await site.saver.settled()
        site.ranks.fails["write"] = FULL
        for step in range(6, 12):
            await site.learn(step)
            await site.saver.settled()
        assert site.saved() == {"step_000004": "4"}
        assert site.folders() == ["step_000004"], "what a failed save wrote is removed"
        assert site.ranks.done.count("write 8") == 1
        del site.ranks.fails["write"]
        await site.learn(12)
        await site.saver.settled()
        assert site.saver.saved == 12
        site.said.append("saved")
        await site.learn(13, 14)

    site = at(tmp_path, work)
    *warned, last = site.said
    assert last == "saved", "nothing is said once the run is saved again"
    assert [line.split(",")[0] for line in warned] == [f"warning: step {step} is not saved" for step in (9, 10, 11, 12)]
    assert warned[0] == f"warning: step 9 is not saved, the newest checkpoint is that of step 4: {WORDS}; training goes on"
    assert site.saved() == {"step_000004": "4", "step_000012": "12"}


def test_a_disk_without_room_for_a_checkpoint_costs_no_copy_and_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(site: Site) -> None:
        await site.learn(*range(1, 5))
        await site.saver.settled()
        usage = shutil.disk_usage(tmp_path)
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1))
            await site.learn(*range(5, 11))
            assert site.ranks.done == ["snapshot 4", "write 4"]
        await site.learn(11)
        await site.saver.settled()

    site = at(tmp_path, work)
    assert [line.split(",")[0] for line in site.said] == [f"warning: step {step} is not saved" for step in (8, 9, 10, 11)]
    assert f"disk full: the disk of run.dir {tmp_path} has 1e-09 GB free, and a checkpoint takes" in site.said[0]
    assert site.saved() == {"step_000004": "4", "step_000011": "11"}, "the save that could not be made is made once there is room"


@pytest.mark.parametrize("where", ["write", "snapshot", "flush"])
def test_a_run_whose_last_steps_cannot_be_saved_ends_with_the_cause_and_keeps_its_last_checkpoint(tmp_path: Path, where: str) -> None:
    async def work(site: Site) -> None:
        await site.learn(*range(1, 6))
        await site.saver.settled()

        def flush() -> None:
            raise FULL

        if where == "flush":
            site.record.flush, site.record.complaint = flush, lambda: "3 rows of ledger.db wait"
        else:
            site.ranks.fails[where] = FULL
        said = f"the newest checkpoint is that of step 4, and step 5 could not be saved: {WORDS}"
        with pytest.raises(NotSaved) as ended:
            await site.saver.finish()
        assert str(ended.value) == said + (" (3 rows of ledger.db wait)" if where == "flush" else "")
        assert site.saved() == {"step_000004": "4"}
        assert site.folders() == ["step_000004"]

    at(tmp_path, work)


def test_what_waits_is_said_after_each_step_and_what_is_lost_for_good_once(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        for waits in ("", "1 line waits", "2 lines wait", "3 steps are lost", "3 steps are lost", "4 steps are lost"):
            site.record.complaint = lambda waits=waits: waits
            await site.learn(site.ranks.step + 1)

    said = ["1 line waits", "2 lines wait", "3 steps are lost", "4 steps are lost"]
    assert at(tmp_path, work, save_every=50).said == [f"warning: {text}; training goes on" for text in said]


@pytest.mark.parametrize("saves_before", [True, False])
def test_a_first_save_that_fails_for_another_reason_than_the_disk_ends_the_run(tmp_path: Path, saves_before: bool) -> None:
    async def work(site: Site) -> None:
        site.ranks.fails = {} if saves_before else {"write": RuntimeError("lacks rank-1.json")}
        await site.learn(1, 2, 3, 4)
        await site.saver.settled()
        site.ranks.fails["write"] = RuntimeError("lacks rank-1.json")
        if saves_before:
            await site.learn(5, 6, 7, 8)
            await site.saver.settled()
            await site.learn(9)
            return
        with pytest.raises(RuntimeError, match=r"lacks rank-1\.json"):
            await site.learn(5)

    expected = "warning: step 9 is not saved, the newest checkpoint is that of step 4: RuntimeError: lacks rank-1.json; training goes on"
    assert at(tmp_path, work).said == ([expected] if saves_before else [])


def test_a_rank_that_dies_in_the_last_save_is_the_cause_itself(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        site.ranks.fails["write"] = RuntimeError("rank 1 died")
        await site.learn(1)
        with pytest.raises(RuntimeError, match=r"^rank 1 died$"):
            await site.saver.finish()

    at(tmp_path, work)


@pytest.mark.parametrize("ends_by", [RuntimeError, asyncio.CancelledError])
def test_a_write_under_way_is_finished_after_an_error_and_removed_after_a_second_ctrl_c(
    tmp_path: Path, ends_by: type[BaseException]
) -> None:
    async def work(site: Site) -> None:
        site.ranks.gate.clear()
        await site.learn(1, 2, 3, 4)
        asyncio.get_running_loop().call_later(0.05, site.ranks.gate.set)
        raise ends_by("the last engine died")

    with pytest.raises(ends_by):
        at(tmp_path, work)
    site = Site(tmp_path)
    assert site.folders() == (["step_000004"] if ends_by is RuntimeError else [])


def test_with_a_grace_time_the_newest_finished_step_can_always_be_saved_though_the_next_is_cut(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        await site.learn(1, 2)
        site.stop.needed_s = 0.1
        with site.stop.answered(site.said.append, 60, 1.0):
            site.stop.ask(hurried=True)
            with pytest.raises(Stopped):
                await site.stop.finishes(learn_for_ever(site))
            await site.saver.finish()

    async def learn_for_ever(site: Site) -> None:
        site.ranks.step = 3  # in the middle of its update
        await asyncio.sleep(600)

    site = at(tmp_path, work, grace_s=1)
    assert site.ranks.done == ["snapshot 1", "snapshot 2", "write 2"]
    assert site.saved() == {"step_000002": "2"}
    assert site.said == ["stopping at once; within run.grace_s (1 s), or else the newest finished step is saved"]


def test_where_gpus_are_shared_the_copy_is_made_in_the_ranks_turn_and_never_after_the_publish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(site: Site) -> None:
        site.config = site.saver.config = site.config.model_copy(update={"placement": PlacementConfig(share=True)})
        full = True
        usage = shutil.disk_usage(tmp_path)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0 if full else usage.free))
        for step in range(1, 11):
            site.ranks.step = step
            full = bool(site.saved()) and step < 10
            taken = await site.saver.in_the_ranks_turn(step)
            full = False  # after the publish there is room, but the engines have the GPUs
            assert taken == (step in (4, 8, 9, 10))
            await site.learn(step)
            await site.saver.settled()

    site = at(tmp_path, work)
    assert site.ranks.done == ["snapshot 4", "write 4", "snapshot 10", "write 10"]
    assert site.saved() == {"step_000004": "4", "step_000010": "10"}


def test_a_cut_step_never_becomes_a_checkpoint(tmp_path: Path) -> None:
    """Without a copy of the step before, the run ends with the checkpoints that it has."""

    async def work(site: Site) -> None:
        await site.learn(1, 2, 3, 4, 5)
        site.stop.cut = True
        site.ranks.step = 6
        await site.saver.finish()

    site = at(tmp_path, work)
    assert site.saved() == {"step_000004": "4"}
    assert site.said == ["step 5 has no copy in host memory: the newest checkpoint is that of step 4"]


def test_each_checkpoint_has_the_policy_of_its_step_and_goes_without_where_the_disk_is_full(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        await site.learn(*range(1, 6))
        await site.saver.settled()
        site.ranks.fails["export"] = FULL
        await site.learn(6, 7, 8)
        await site.saver.settled()

    site = at(tmp_path, work, export_checkpoints=True)
    assert site.saved() == {"step_000004": "4", "step_000008": "8"}
    exported = {path.parent.name: (path / "model.safetensors").read_text() for path in tmp_path.glob("checkpoints/*/huggingface")}
    assert exported == {"step_000004": "4"}
    assert site.said == [f"warning: the policy of step 8 is not exported: {WORDS}"]
    (tmp_path / "checkpoints" / "step_000004" / "huggingface" / "model.safetensors").unlink()
    assert "step_000004" in site.saved(), "a run continues without it"


def test_checkpoints_to_keep_for_ever_stay_beside_the_newest(tmp_path: Path) -> None:
    async def work(site: Site) -> None:
        for step in range(1, 16):
            await site.learn(step)
            await site.saver.settled()

    assert at(tmp_path, work, save_every=1, keep_every=4, keep_checkpoints=2).folders() == [
        "step_000004", "step_000008", "step_000012", "step_000014", "step_000015",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("save_every", "keep_every", "fits"), [(50, 0, True), (50, 50, True), (50, 500, True), (50, 70, False), (50, 1, False)]
)
def test_steps_to_keep_must_be_steps_that_are_saved(tmp_path: Path, save_every: int, keep_every: int, fits: bool) -> None:
    run = {"dir": str(tmp_path), "save_every": save_every, "keep_every": keep_every}
    if fits:
        run_config(tmp_path, run=run)
        return
    with pytest.raises(ValueError, match=rf"run\.keep_every: got {keep_every} with run\.save_every = 50, .* such as 50"):
        run_config(tmp_path, run=run)
