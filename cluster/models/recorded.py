"""How a run records its models: a snapshot of the Hugging Face cache by hub id and commit, which any machine can find again."""

import tomllib
from pathlib import Path

from huggingface_hub import constants

from configs.hub import HubModel, hub_model, model_of_snapshot
from configs.schema import Config
from configs.tables import inner_table


def recorded(config: Config) -> Config:
    """The config with hub ids in place of snapshots of this machine's cache."""
    reference = config.kl.reference
    return config.model_copy(
        update={
            "model": config.model.model_copy(update={"path": name_of(config.model.path)}),
            "kl": config.kl.model_copy(update={"reference": reference if reference is None else name_of(reference)}),
        }
    )


def name_of(path: str) -> str:
    """`owner/name@commit` for a snapshot of this machine's cache, any other path as it is."""
    found = model_of_snapshot(path)
    return str(found) if found and Path(path).is_relative_to(constants.HF_HUB_CACHE) else path


def models_of_run(config: Config) -> dict[str, HubModel]:
    """The hub models that the run in run.dir, or the run of the checkpoint to continue, has recorded, by key."""
    checkpoint = Path(config.run.resume).absolute()
    folder = config.run_dir if config.run.resume in ("never", "auto") else checkpoint.parent.parent
    try:
        table = tomllib.loads((folder / "config.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}  # no run yet, or none that can be read, which is refused later with its reason
    paths = {"model.path": inner_table(table, ("model",)).get("path"), "kl.reference": inner_table(table, ("kl",)).get("reference")}
    models = {key: hub_model(path) for key, path in paths.items() if isinstance(path, str)}
    return {key: model for key, model in models.items() if model is not None and model.pinned}
