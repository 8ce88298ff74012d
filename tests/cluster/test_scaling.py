"""The driver's side of another number of engines: what is a request and what is none, nodes that join, the status."""

import json
import os
from pathlib import Path

import pytest

from cluster.record.run_dir import lock_run_dir
from cluster.record.scaling import asking, scaling
from cluster.record.scaling.asking import ask
from cluster.record.scaling.files import REQUEST, STATUS, Status, new_request, read, write
from configs.errors import InputError
from tests.toys.scaling import Site


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for module, seconds in ((scaling, {"LOOK_S": 0.01, "ROOM_S": 0.0}), (asking, {"LOOK_S": 0.01})):
        for name, value in seconds.items():
            monkeypatch.setattr(module, name, value)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    (tmp_path / "run").mkdir()
    return Site(tmp_path / "run", 2)


def ranged(tmp_path: Path, low: int, high: int) -> Site:
    (tmp_path / "run").mkdir()
    return Site(tmp_path / "run", {"min": low, "max": high})


def malformed() -> list[tuple[str, bytes]]:
    right = {"count": 3, "id": "a" * 32}  # the same in every process that collects these tests
    wrong = [
        {}, [], 3, "3", None, True, {"count": 3}, {"id": "0" * 32}, right | {"more": 1}, right | {"count": 0}, right | {"count": -1},
        right | {"count": 2.0}, right | {"count": "2"}, right | {"count": True}, right | {"count": None}, right | {"count": 10**30},
        right | {"count": "AUTO"}, right | {"id": "x" * 32}, right | {"id": "0" * 31}, right | {"id": "0" * 32 + "\n"}, right | {"id": 5},
    ]  # fmt: skip
    texts = [json.dumps(value).encode() for value in wrong]
    texts += [
        b"",
        b"{",
        b"\xff\xfe",
        b"\0" * 10,
        b"[" * 4000,
        b" " * 5000,
        b'{"count": NaN, "id": "' + b"0" * 32 + b'"}',
        b"\x80\x04K\x03.",
    ]
    return [(f"{number}", text) for number, text in enumerate(texts)]


@pytest.mark.parametrize(("name", "text"), malformed())
def test_what_is_no_request_is_named_once_and_changes_nothing(site: Site, name: str, text: bytes) -> None:
    path = site.config.run_dir / REQUEST
    path.write_bytes(text)
    site.look(3)
    assert (site.fleet.asked, path.read_bytes()) == ([], text)
    (said,) = site.said
    assert said.startswith(f"warning: {path} ")
    assert "this request for engines is ignored" in said
    assert said.isprintable()
    site.request(3)
    site.look()
    assert site.fleet.asked == [3], "a right request is read after a wrong one"


def test_a_pipe_a_link_and_a_folder_do_not_block_the_driver(site: Site, tmp_path: Path) -> None:
    path, secret = site.config.run_dir / REQUEST, tmp_path / "secret"
    write(tmp_path, "secret", new_request(3))
    for make, remove in (
        (lambda: os.mkfifo(path), path.unlink),
        (lambda: path.symlink_to(secret), path.unlink),
        (lambda: path.symlink_to("/dev/zero"), path.unlink),
        (path.mkdir, path.rmdir),
    ):
        make()
        site.look(2)
        remove()
    assert site.fleet.asked == []
    assert len(site.said) == 4
    assert all("ignored" in said for said in site.said)


def test_engines_follow_nodes_that_join_within_the_range(tmp_path: Path) -> None:
    site = ranged(tmp_path, 2, 5)
    site.fleet.hold = 2
    site.look(4)
    assert site.fleet.asked == []
    site.fleet.hold = 3
    site.look()
    assert site.fleet.asked == [], "room that is seen once may be gone"
    site.look(3)
    assert (site.fleet.wanted, site.fleet.asked) == (3, [3])
    site.fleet.hold = 9
    site.look(6)
    assert (site.fleet.wanted, site.fleet.asked) == (5, [3, 5])
    assert "the nodes have room for more engines: 5 wanted, 3 before" in site.said


def test_an_engine_that_waits_for_a_node_is_tried_again_when_one_joins(tmp_path: Path) -> None:
    site = ranged(tmp_path, 1, 2)
    site.fleet.want(2)
    site.fleet.engines[1].health, site.fleet.hold = "dead", 1  # with its node
    site.look(3)
    assert site.fleet.asked == [2]
    site.fleet.hold = 4
    site.look(3)
    assert site.fleet.asked[:2] == [2, 2], "the number stays, and the fleet looks for a place again"


def test_what_a_user_asks_for_counts_until_they_let_the_nodes_decide(tmp_path: Path) -> None:
    site = ranged(tmp_path, 1, 5)
    site.look(3)
    assert site.fleet.wanted == 5
    site.request(2)
    site.look(4)
    assert (site.fleet.wanted, site.fleet.room()) == (2, 4)
    site.request("auto")
    site.look(4)
    assert site.fleet.wanted == 5
    assert "gatewise engines: the number of engines follows the nodes again, 1 to 5 as rollout.engines allows" in site.said


def test_a_fixed_number_follows_nothing(site: Site) -> None:
    site.fleet.hold = 99
    site.look(5)
    assert site.fleet.asked == []


def test_the_status_says_since_when_and_no_version_before_a_proof(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(scaling.time, "time", lambda: now[0])
    site.look()
    site.fleet.engines[1].life, site.fleet.engines[1].health = 1, "stale"
    now[0] = 1100.0
    site.look()
    status = read(site.config.run_dir, STATUS, Status)
    assert status is not None
    assert [(e.life, e.health, e.version, e.since) for e in status.engines] == [(0, "serving", 7, 1000.0), (1, "stale", None, 1100.0)]
    before = (site.config.run_dir / STATUS).stat().st_mtime_ns
    site.look(2)
    assert (site.config.run_dir / STATUS).stat().st_mtime_ns == before, "what has not changed is not written again"


def test_a_full_disk_stops_neither_the_run_nor_a_request(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    site.request(3)
    monkeypatch.setattr(scaling, "write", full)
    site.look(3)
    assert site.fleet.asked == [3]
    assert [line for line in site.said if "No space left" in line] == [
        f"warning: the state of the engines is not written to {site.config.run_dir / STATUS} (No space left on device)"
    ]
    monkeypatch.setattr(asking, "write", full)
    with lock_run_dir(site.config), pytest.raises(InputError, match=r"cannot be written to .* \(No space left on device\)"):
        ask(site.config.run_dir, 3, 1.0)


def test_a_ray_that_does_not_answer_costs_the_scaling_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = ranged(tmp_path, 1, 5)

    def gone() -> int:
        raise ConnectionError("no GCS")

    monkeypatch.setattr(site.fleet, "room", gone)

    def work() -> str:
        while not site.said:
            pass
        return "the run's result"

    assert site.while_it_works(work) == "the run's result"
    assert site.said == ["warning: the number of engines can no longer be changed: ConnectionError: no GCS"]
