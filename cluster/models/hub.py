"""Models of the hub: resolved to a commit, downloaded once to the Hugging Face cache, found again by a resumed run and on other nodes.

    owner/name ──► commit (the run's own, or the hub's, or the cache's) ──► config.json checked ──► weights ──► snapshot folder

After this a config names a folder, as if the user had. The folder's name has the commit: `cluster.models.recorded` makes a hub id of it.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cluster.models.folder import model_folder, refuse_kind, refuse_weights
from cluster.models.recorded import models_of_run
from configs.families import family_of
from configs.home import expanded
from configs.hub import HubModel, hub_model, model_of_snapshot
from configs.schema import Config
from configs.sections.objective import INITIAL

# Config, tokenizer, weights and their index; nothing of subfolders, where other formats lie, nor Mistral's second copy of the weights.
WANTED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja")
CODE = "*.py"  # with model.trust_remote_code
UNWANTED = ("*/*", "consolidated*", "*.index.fp32.json")
ANSWER_S = 4.0  # for the hub's first answer, so that a missing network is named in 5 s
TOKEN = "HF_TOKEN"
Say = Callable[[str], None]


def fetch_models(config: Config, say: Say) -> Config:
    """The config with a folder of this machine for each model named by its hub id; ValueError where one cannot be had."""
    wanted = (*WANTED, CODE) if config.model.trust_remote_code else WANTED
    kept = models_of_run(config)
    path = fetch("model.path", config.model.path, kept, wanted, say)
    changed = config.model_copy(update={"model": config.model.model_copy(update={"path": path})})
    reference = config.kl.reference
    if reference in (None, INITIAL):
        return changed
    found = fetch("kl.reference", str(reference), kept, wanted, say)
    return changed.model_copy(update={"kl": config.kl.model_copy(update={"reference": found})})


def fetch(key: str, path: str, kept: dict[str, HubModel], wanted: tuple[str, ...], say: Say) -> str:
    """The folder of one model. A path of this machine is returned as it is, but for a home directory written as ~."""
    asked = hub_model(path)
    if asked is None:
        return str(expanded(path)) if path.startswith("~") else path
    recorded = kept.get(key)
    if recorded and recorded.name == asked.name and not asked.pinned:
        asked = recorded  # a continued run has the weights it began with, whatever the branch says today
    if asked.pinned and (found := cached(key, asked, wanted)):
        return found
    commit = resolve(key, asked, wanted, say)
    if found := cached(key, commit, wanted):
        return found
    return download(key, commit, wanted, say)


def resolve(key: str, asked: HubModel, wanted: tuple[str, ...], say: Say) -> HubModel:
    """The model at the commit that a branch or tag is now. Without an answer it is the commit in the cache."""
    try:
        sha = HfApi(token=token()).model_info(asked.name, revision=asked.revision, timeout=ANSWER_S).sha
        return asked.at(str(sha))
    except (HTTPError, OSError) as error:
        if found := cached(key, asked, wanted):
            commit = asked.at(Path(found).name)
            say(f"{key}: using {commit} from the cache, as the hub gave no answer ({type(error).__name__})")
            return commit
        raise ValueError(refusal(key, asked, error)) from error


def cached(key: str, asked: HubModel, wanted: tuple[str, ...]) -> str | None:
    """The snapshot of a model in the cache, None where it is absent or lacks files."""
    try:
        found = snapshot_download(
            asked.name, revision=asked.revision, allow_patterns=list(wanted), ignore_patterns=list(UNWANTED), local_files_only=True
        )
        model_folder(key, found)
    except (LocalEntryNotFoundError, ValueError):
        return None
    return str(found)


def download(key: str, commit: HubModel, wanted: tuple[str, ...], say: Say) -> str:
    """Download a model at its commit; ValueError before its weights are downloaded where they cannot be used or do not fit the disk."""
    try:
        files = HfApi(token=token()).model_info(commit.name, revision=commit.revision, files_metadata=True).siblings or []
        names = [file.rfilename for file in files]
        if "config.json" not in names:
            raise ValueError(f"{key} {commit.name} has no config.json on the hub, so it is no transformers model: give another model")
        refuse_weights(key, commit.name, names)
        file = hf_hub_download(commit.name, "config.json", revision=commit.revision, token=token())
        raw = json.loads(Path(file).read_text(encoding="utf-8"))
        refuse_kind(key, commit.name, raw)
        family_of(raw.get("model_type"), f"{key} {commit.name}")
        size = sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors") and "/" not in file.rfilename)
        refuse_full_disk(key, commit, size)
        say(f"{key}: downloading {commit} ({size / 1e9:,.1f} GB) to {constants.HF_HUB_CACHE}")
        return str(
            snapshot_download(
                commit.name, revision=commit.revision, allow_patterns=list(wanted), ignore_patterns=list(UNWANTED), token=token()
            )
        )
    except (HTTPError, OSError) as error:
        raise ValueError(refusal(key, commit, error)) from error


def refuse_full_disk(key: str, commit: HubModel, size: int) -> None:
    """Raise ValueError where the cache's disk has less space than the weights need."""
    cache = Path(constants.HF_HUB_CACHE)
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if size > free:
        raise ValueError(
            f"{key} {commit.name} needs {size / 1e9:,.1f} GB in {cache}, which has {free / 1e9:,.1f} GB free: "
            "free space, or set HF_HOME to a folder on a larger disk"
        )


def refusal(key: str, asked: HubModel, error: Exception) -> str:
    """What is wrong with a model that can neither be found in the cache nor downloaded, and what to do."""
    known = "set" if os.environ.get(TOKEN) else "not set"
    local = f"{key} {asked} is no folder of this machine ({Path(str(asked)).absolute()}) and"
    if isinstance(error, GatedRepoError):
        return (
            f"{key} {asked} is gated: its authors must give you access. Accept their terms on the model's page of the hub, then set the "
            f"environment variable {TOKEN} ({known}) to a token of that account"
        )
    if isinstance(error, RevisionNotFoundError):
        return f'{key} {asked} has no revision "{asked.revision}" on the hub: give a branch, a tag or a whole commit after @'
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"{local} no model of the hub that you may read: correct the name; for a private model set the environment variable "
            f"{TOKEN} ({known}), or give a model folder"
        )
    if isinstance(error, HfHubHTTPError):
        return f"{local} absent from the cache {constants.HF_HUB_CACHE}, and the hub answered with an error ({error}): try again later"
    if isinstance(error, (HTTPError, ConnectionError, LocalEntryNotFoundError)):
        why = "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else f"no network ({type(error).__name__}: {error})"
        return (
            f"{local} absent from the cache {constants.HF_HUB_CACHE}, with {why}: run `hf download {asked.name}` where there is a network "
            "and set HF_HOME to that cache, or give a model folder"
        )
    return f"{key} {asked} cannot be downloaded to {constants.HF_HUB_CACHE} ({type(error).__name__}: {error}): correct this and start again"


def token() -> str | bool:
    """The user's token from the environment; False, so that no stored one is used, where it is not set."""
    return os.environ.get(TOKEN) or False


def fetch_to_this_node(config: Config) -> None:
    """Download the run's models to the same folders on a node that lacks them; ValueError names what is missing here."""
    for key, path in (("model.path", config.model.path), ("kl.reference", config.kl.reference)):
        if path in (None, INITIAL) or Path(str(path)).is_dir():
            continue
        model = model_of_snapshot(str(path))
        if model is None:
            raise ValueError(f"{key} {path} is no folder on this node: every node needs the model at the same path, or name it by a hub id")
        try:
            snapshot_download(
                model.name,
                revision=model.revision,
                cache_dir=Path(str(path)).parents[2],
                allow_patterns=[*WANTED, CODE] if config.model.trust_remote_code else list(WANTED),
                ignore_patterns=list(UNWANTED),
                token=token(),
            )
        except (HTTPError, OSError) as error:
            raise ValueError(f"on this node, {refusal(key, model, error)}") from error
