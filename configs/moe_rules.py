"""The rules for mixtures of experts: what replay needs of the engine, and what expert parallelism excludes."""

from __future__ import annotations

from configs.rules import Rule

MOE_RULES: tuple[Rule, ...] = ()
