"""The user's side of another number of engines: `gatewise engines` and `gatewise.engines`, against a driver at work or none."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import gatewise
from cluster.cli import main, parser
from cluster.record.run_dir import lock_run_dir
from cluster.record.scaling import asking, scaling
from cluster.record.scaling.asking import ask, status_of
from cluster.record.scaling.cli import ago
from cluster.record.scaling.files import REQUEST, STATUS, forget, new_request, read
from configs.errors import InputError, NoRun
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


def test_a_request_from_another_process_is_answered_and_followed(site: Site) -> None:
    folder = site.config.run_dir
    status = site.while_it_works(lambda: ask(folder, 4, 5.0))
    assert (status.wanted, site.fleet.asked, site.said) == (4, [4], ["gatewise engines: 4 engines wanted, 2 before"])
    assert [(e.name, e.place, e.life, e.health, e.version, e.node) for e in status.engines[:2]] == [
        ("engine 0", 0, 0, "serving", 7, "10.0.0.1"),
        ("engine 1", 1, 0, "serving", 7, "10.0.0.2"),
    ]
    assert [path.name for path in folder.iterdir() if path.name.startswith((".", "engines"))] == [], "nothing is left of it"


def test_two_to_four_to_one(site: Site) -> None:
    def work() -> list[int]:
        return [ask(site.config.run_dir, count, 5.0).wanted for count in (4, 1, 1, 6)]

    assert site.while_it_works(work) == [4, 1, 1, 6]
    assert site.fleet.asked == [4, 1, 1, 6]


@pytest.mark.parametrize(
    ("engines", "count", "said"),
    [
        (2, 7, r"got 7, needed 1 to 6: the nodes of the cluster hold 6 engines beside the ranks"),
        ({"min": 2, "max": 4}, 1, r"got 1, needed 2 to 4: rollout.engines of this run is \{ min = 2, max = 4 \}"),
        ({"min": 2, "max": 4}, 5, r"got 5, needed 2 to 4"),
        ({"min": 2, "max": 9}, 8, r"got 8, needed 2 to 6: the nodes of the cluster hold 6"),
        (2, "auto", r'got "auto", but rollout.engines is a number'),
    ],
)
def test_what_the_run_cannot_have_is_refused_with_what_it_can(tmp_path: Path, engines: Any, count: Any, said: str) -> None:
    (tmp_path / "run").mkdir()
    site = Site(tmp_path / "run", engines)
    site.scaling.follows = False
    with pytest.raises(InputError, match=said):
        site.while_it_works(lambda: ask(site.config.run_dir, count, 5.0))
    assert (site.fleet.wanted, site.fleet.asked) == (2, [])


def test_engines_that_share_gpus_stay_as_many_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    site = Site(tmp_path / "run", 1, placement={"share": True})
    with pytest.raises(InputError, match=r"got 2, but with placement.share = true .* their number is fixed"):
        site.while_it_works(lambda: ask(site.config.run_dir, 2, 5.0))
    assert site.fleet.asked == []


def test_engines_that_have_no_group_to_generate_are_named(site: Site) -> None:
    site.fleet.hold = 999
    groups = (site.config.run.max_staleness + 1) * site.config.rollout.groups_per_step
    status = site.while_it_works(lambda: ask(site.config.run_dir, groups + 1, 5.0))
    assert status.answer is not None
    assert f"at most {groups} groups are in flight, so some of them idle" in status.answer.said


def test_a_request_that_another_one_replaces_says_so(site: Site) -> None:
    def replace() -> None:
        while read(site.config.run_dir, REQUEST, type(new_request(1))) is None:
            pass
        site.request(5)

    with lock_run_dir(site.config):
        other = threading.Thread(target=replace)
        other.start()
        with pytest.raises(InputError, match=r"another request \(5\) has replaced this one \(3\)"):
            ask(site.config.run_dir, 3, 5.0)
        other.join()


def test_a_driver_that_does_not_answer_is_waited_for_and_the_request_stands(site: Site) -> None:
    with lock_run_dir(site.config), pytest.raises(InputError, match=r"has not answered within 0.05 s. The request stands"):
        ask(site.config.run_dir, 3, 0.05)
    assert (site.config.run_dir / REQUEST).is_file()
    forget(site.config.run_dir)
    assert not (site.config.run_dir / REQUEST).exists()


@pytest.fixture
def folders(site: Site, tmp_path: Path) -> dict[str, Path]:
    """Folders on which nobody works."""
    (tmp_path / "finished").mkdir()
    finished = Site(tmp_path / "finished", 1)
    (tmp_path / "finished" / "metrics.jsonl").write_text(f'{{"step": {finished.config.run.steps}}}\n')
    (tmp_path / "empty").mkdir()
    return {"idle": site.config.run_dir, "finished": tmp_path / "finished", "empty": tmp_path / "empty", "absent": tmp_path / "absent"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("idle", "no driver works on the run in {} (step 0 of "),
        ("finished", "the run in {} has finished all its "),
        ("empty", "{} holds no run: it has no config.toml; give the run.dir of a run that works now"),
        ("absent", "{} is no folder; give the run.dir of a run that works now"),
    ],
)
@pytest.mark.parametrize("count", [[], ["--count", "3"]])
def test_where_no_run_works_the_command_says_why_and_exits_with_2(
    folders: dict[str, Path], name: str, said: str, count: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["engines", str(folders[name]), *count])
    assert ended.value.code == 2
    assert said.format(folders[name]) in capsys.readouterr().err
    assert not (folders[name] / REQUEST).exists(), "a request that nobody reads is not left behind"


def test_a_run_that_starts_has_no_engines_yet(site: Site) -> None:
    with lock_run_dir(site.config), pytest.raises(InputError, match="is starting and has no engines yet"):
        status_of(site.config.run_dir)


def test_a_status_that_another_program_wrote_is_named(site: Site) -> None:
    (site.config.run_dir / STATUS).write_text('{"wanted": 1}')
    with lock_run_dir(site.config), pytest.raises(InputError, match=r"engines-status\.json is malformed"):
        status_of(site.config.run_dir)


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "two", "", "4 ", "²", "1e3", "9" * 5000, "AUTO"])
def test_a_count_that_is_no_number_is_bad_usage(site: Site, count: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["engines", str(site.config.run_dir), f"--count={count}"])
    assert ended.value.code == 2
    assert 'needed a whole number of engines from 1, or "auto"' in capsys.readouterr().err


def test_the_command_prints_a_table_and_json(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(site.config.run_dir)
    site.fleet.engines[1].health = "starting"

    def work() -> None:
        while not (site.config.run_dir / STATUS).exists():
            pass
        for words in ([], ["--json"], ["--count", "3"]):  # main itself needs the main thread, for its signals
            asked = parser().parse_args(["engines", folder, *words])
            asked.run(asked)

    site.while_it_works(work)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        f"engines of {folder}: 2 wanted",
        "engine    life  health    version  node      since",
        "engine 0  0     serving   7        10.0.0.1  0 s",
        "engine 1  0     starting  -        10.0.0.2  0 s",
    ]
    assert json.loads("\n".join(lines[4:-6]))["engines"][1]["health"] == "starting"
    assert lines[-6:-4] == ["3 engines wanted, 2 before", f"engines of {folder}: 3 wanted"]


def test_the_same_from_python(site: Site) -> None:
    folder = site.config.run_dir

    def work() -> list[Any]:
        found = [gatewise.engines(folder, 3), gatewise.engines(str(folder), "4"), gatewise.engines(gatewise.load_run(folder))]
        for count in (0, True, 2.0, "many", None):
            if count is not None:
                with pytest.raises(gatewise.InputError, match="needed a whole number"):
                    gatewise.engines(folder, count)  # type: ignore[arg-type]
        return found

    assert [status["wanted"] for status in site.while_it_works(work)] == [3, 4, 4]
    with pytest.raises(NoRun, match="no driver works"):
        gatewise.engines(folder)


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (61, "1 min"), (5400, "1.5 h"), (7 * 86400, "7 d")])
def test_times_are_short(seconds: float, text: str) -> None:
    assert ago(seconds) == text
