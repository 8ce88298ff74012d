"""Models by hub id, from a hub on loopback, from a cache made by hand, and from neither."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

from cluster.models.hub import fetch_models, fetch_to_this_node
from cluster.models.recorded import recorded
from cluster.record.run_dir import changes, write_config
from configs.hub import HubModel, hub_model, model_of_snapshot
from configs.loader import load
from configs.schema import Config
from tests.toys.hub import ToyHub, point_to, serving
from tests.toys.run import run_config

NAME = "Owner/Tiny-1.5B"
OLD, NEW = "a" * 40, "b" * 40
CLOSED = "http://127.0.0.1:1"  # nothing listens there
FILES = {
    "config.json": json.dumps({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}).encode(),
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "README.md": b"words",
    "pytorch_model.bin": b"pickle",
    "original/consolidated.safetensors": b"twice",
    "modeling_own.py": b"raise SystemExit",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyHub]:
    """A hub with one model, and an empty cache."""
    toy = ToyHub()
    toy.add(NAME, OLD, FILES)
    with serving(toy, monkeypatch, tmp_path / "cache"):
        yield toy


def config_of(folder: Path, path: str = NAME, **kl: object) -> Config:
    (folder / "run").mkdir(parents=True, exist_ok=True)
    return run_config(folder / "run", model={"path": path}, kl=kl)


def snapshot(cache: Path, name: str = NAME, commit: str = OLD, without: str = "") -> Path:
    """A model in a cache, as a download leaves it."""
    place = cache / f"models--{name.replace('/', '--')}"
    folder = place / "snapshots" / commit
    folder.mkdir(parents=True)
    for file, data in FILES.items():
        if file not in (without, "original/consolidated.safetensors"):
            (folder / file).write_bytes(data)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(commit)
    return folder


def refusal(config: Config) -> str:
    said: list[str] = []
    started = time.monotonic()
    with pytest.raises(ValueError, match=r"^(model\.path|kl\.reference)") as caught:
        fetch_models(config, said.append)
    assert time.monotonic() - started < 5
    return str(caught.value)


def test_a_model_is_downloaded_once_with_nothing_but_what_is_needed(hub: ToyHub, tmp_path: Path) -> None:
    said: list[str] = []
    path = Path(fetch_models(config_of(tmp_path), said.append).model.path)
    assert path == tmp_path / "cache" / "models--Owner--Tiny-1.5B" / "snapshots" / OLD
    assert {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert said == [f"model.path: downloading {NAME}@{OLD} (0.0 GB) to {tmp_path / 'cache'}"]
    hub.asked.clear()
    assert fetch_models(config_of(tmp_path), said.append).model.path == str(path)
    assert len(said) == 1
    assert not [request for request in hub.asked if "/resolve/" in request]


def test_a_run_keeps_its_commit_while_the_branch_moves_and_says_which_it_is(hub: ToyHub, tmp_path: Path) -> None:
    first = fetch_models(config_of(tmp_path, reference=NAME), print)
    assert first.kl.reference == first.model.path
    write_config(first)
    kept = load(tmp_path / "run" / "config.toml")
    assert kept.model.path == kept.kl.reference == f"{NAME}@{OLD}"
    hub.add(NAME, NEW, FILES | {"tokenizer.json": b"[]"})
    hub.asked.clear()
    assert fetch_models(config_of(tmp_path, reference=NAME), print) == first
    assert fetch_models(kept, print) == first
    assert hub.asked == [], "a commit in the cache needs no hub"
    assert changes(kept, first) == []
    moved = fetch_models(config_of(tmp_path, f"{NAME}@{NEW}", reference=NAME), print)
    assert [str(change) for change in changes(kept, moved)] == [f"model.path: '{NAME}@{OLD}' in the run, '{NAME}@{NEW}' now"]
    assert fetch_models(config_of(tmp_path / "other"), print).model.path.endswith(NEW)


def test_without_a_network_the_cache_is_used_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch, CLOSED, tmp_path / "cache")
    folder = snapshot(tmp_path / "cache")
    said: list[str] = []
    for path in (NAME, f"{NAME}@main", f"{NAME}@{OLD}"):
        assert fetch_models(config_of(tmp_path, path), said.append).model.path == str(folder)
    assert said == [f"model.path: using {NAME}@{OLD} from the cache, as the hub gave no answer (ConnectError)"] * 2


@pytest.mark.parametrize("lacking", ["model.safetensors", "config.json", "all"])
def test_what_is_neither_in_the_cache_nor_within_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str) -> None:
    point_to(monkeypatch, CLOSED, tmp_path / "cache")
    if lacking != "all":
        snapshot(tmp_path / "cache", without=lacking)
    said = refusal(config_of(tmp_path))
    assert f"model.path {NAME} is no folder of this machine" in said
    assert f"absent from the cache {tmp_path / 'cache'}, with no network (ConnectError: " in said
    assert f"hf download {NAME}" in said
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "with HF_HUB_OFFLINE is set" in refusal(config_of(tmp_path))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("Owner/Unknown", "no model of the hub that you may read: correct the name; for a private model set the environment"),
        (f"{NAME}@v9", 'has no revision "v9" on the hub'),
        (f"{NAME}@{NEW}", f'has no revision "{NEW}" on the hub'),
    ],
)  # fmt: skip
def test_an_unknown_name_or_revision_is_named(hub: ToyHub, tmp_path: Path, path: str, said: str) -> None:
    assert said in refusal(config_of(tmp_path, path))


def test_a_gated_model_asks_for_a_token_of_the_environment_and_never_shows_it(
    hub: ToyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.gated.add(NAME)
    assert "is gated: its authors must give you access." in refusal(config_of(tmp_path))
    assert set(hub.tokens) == {None}
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    said: list[str] = []
    config = fetch_models(config_of(tmp_path), said.append)
    assert "Bearer hf_secret" in hub.tokens
    write_config(config)
    assert not [text for text in (*said, (tmp_path / "run" / "config.toml").read_text()) if "secret" in text]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"model.gguf": b""}, "has no config.json on the hub"),
        ({"config.json": b"{}", "pytorch_model.bin": b""}, "has its weights as pytorch_model*.bin"),
        (FILES | {"config.json": b'{"model_type": "bert"}'}, 'is of model_type "bert", needed one of the families'),
        (FILES | {"config.json": b'{"model_type": "qwen3", "quantization_config": {"quant_method": "fp8"}}'}, "is quantised (fp8"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_its_weights_are_downloaded(
    hub: ToyHub, tmp_path: Path, files: dict[str, bytes], said: str
) -> None:
    hub.add(NAME, NEW, files)
    assert said in refusal(config_of(tmp_path))
    assert not [request for request in hub.asked if "safetensors" in request]


def test_a_model_larger_than_the_disk_is_refused(hub: ToyHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Disk", (), {"free": 1000}))
    hub.add(NAME, NEW, FILES | {"model.safetensors": bytes(2000)})
    assert "set HF_HOME to a folder on a larger disk" in refusal(config_of(tmp_path))


def test_a_node_downloads_what_it_lacks_to_the_same_folder_or_names_it(hub: ToyHub, tmp_path: Path) -> None:
    there = tmp_path / "elsewhere" / "hub" / "models--Owner--Tiny-1.5B" / "snapshots" / OLD
    fetch_to_this_node(config_of(tmp_path, str(there), reference="initial"))
    assert (there / "model.safetensors").read_bytes() == b"weights"
    hub.asked.clear()
    fetch_to_this_node(config_of(tmp_path, str(there), reference=str(there)))
    assert hub.asked == []
    with pytest.raises(ValueError, match=r"model\.path /no/model is no folder on this node: every node needs the model at the same path"):
        fetch_to_this_node(config_of(tmp_path, "/no/model"))
    with pytest.raises(ValueError, match=rf'^on this node, model\.path {NAME}@{NEW} has no revision "{NEW}"'):
        fetch_to_this_node(config_of(tmp_path, str(there.parent / NEW)))


def test_a_local_folder_always_wins_and_paths_are_no_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_model(NAME) == HubModel(NAME)
    assert hub_model(f"{NAME}@v1.0") == HubModel(NAME, "v1.0")
    Path(NAME).mkdir(parents=True)
    assert hub_model(NAME) is None
    config = config_of(tmp_path)
    assert fetch_models(config, print) == config
    monkeypatch.setenv("HOME", "/home/me")
    assert fetch_models(config_of(tmp_path, "~/models/mine"), print).model.path == "/home/me/models/mine"
    for path in ("model", "./a/b", "/a/b", "~/a", "a/b/c", "models/tiny.gguf", ".cache/tiny", "a/b@", ""):
        assert hub_model(path) is None


def test_only_a_snapshot_of_this_cache_is_recorded_by_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    point_to(monkeypatch, CLOSED, tmp_path / "cache")
    mine, other = snapshot(tmp_path / "cache"), snapshot(tmp_path / "copied")
    assert model_of_snapshot(str(other)) == HubModel(NAME, OLD)
    assert recorded(config_of(tmp_path, str(mine))).model.path == f"{NAME}@{OLD}"
    assert recorded(config_of(tmp_path, str(other))).model.path == str(other)
