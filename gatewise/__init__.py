"""Gatewise from Python: `train`, `evaluate`, `export`, `validate`, `doctor`, `selfcheck`, `audit`, `load_run`, the errors, the objective,
and what an environment imports: `Words`, `Rewrite`, `NoMoreTurns`, `held`.

Everything is imported when it is first used, so that `import gatewise` takes milliseconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from configs.version import VERSION as __version__

if TYPE_CHECKING:
    from configs.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        DeadlineExceeded,
        EngineFailed,
        GatewiseError,
        InputError,
        ModelError,
        NoRun,
        RankFailed,
        RewardError,
        RunDirTaken,
        RunFailed,
    )
    from configs.schema import Config
    from gatewise import objective
    from gatewise.commands import audit, doctor, engines, evaluate, export, selfcheck, train, validate
    from gatewise.run import Rows, Run, load_run
    from reward.episodes.words import NoMoreTurns, Rewrite, Words, held

HOMES = {
    "train": "gatewise.commands",
    "evaluate": "gatewise.commands",
    "export": "gatewise.commands",
    "validate": "gatewise.commands",
    "doctor": "gatewise.commands",
    "selfcheck": "gatewise.commands",
    "engines": "gatewise.commands",
    "audit": "gatewise.commands",
    "load_run": "gatewise.run",
    "Run": "gatewise.run",
    "Rows": "gatewise.run",
    "Config": "configs.schema",
    "Words": "reward.episodes.words",
    "Rewrite": "reward.episodes.words",
    "NoMoreTurns": "reward.episodes.words",
    "held": "reward.episodes.words",
    "GatewiseError": "configs.errors",
    "InputError": "configs.errors",
    "ConfigError": "configs.errors",
    "ModelError": "configs.errors",
    "DataError": "configs.errors",
    "RewardError": "configs.errors",
    "CheckpointError": "configs.errors",
    "RunDirTaken": "configs.errors",
    "NoRun": "configs.errors",
    "RunFailed": "configs.errors",
    "EngineFailed": "configs.errors",
    "RankFailed": "configs.errors",
    "DeadlineExceeded": "configs.errors",
}

__all__ = [
    "CheckpointError",
    "Config",
    "ConfigError",
    "DataError",
    "DeadlineExceeded",
    "EngineFailed",
    "GatewiseError",
    "InputError",
    "ModelError",
    "NoMoreTurns",
    "NoRun",
    "RankFailed",
    "RewardError",
    "Rewrite",
    "Rows",
    "Run",
    "RunDirTaken",
    "RunFailed",
    "Words",
    "__version__",
    "audit",
    "doctor",
    "engines",
    "evaluate",
    "export",
    "held",
    "load_run",
    "objective",
    "selfcheck",
    "train",
    "validate",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name == "objective":
        return import_module("gatewise.objective")
    if name not in HOMES:
        raise AttributeError(f"module 'gatewise' has no attribute '{name}'; it has {', '.join(__all__)}")
    return getattr(import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
