"""Known causes: what an error's text contains, and what to change in the config.

A row is a name, a pattern that "Type: message" contains, and the advice. In an advice `{section.key}` stands for the key with the value of
this run. A row with a role counts for that role only. The first row that matches counts, so the special ones come before the general ones.
The patterns are taken from the sources of the installed vLLM, torch, transformers, DeepSpeed, safetensors, Triton and Ray.
"""

import re
from collections.abc import Mapping

from cluster.causes.of_machines import OF_MACHINES
from cluster.causes.of_models import OF_MODELS
from cluster.causes.row import Known

KNOWN = (*OF_MACHINES, *OF_MODELS)


def known(line: str, role: str = "") -> Known | None:
    """The first row whose pattern an error's "Type: message" contains; None if the cause is not in the table."""
    return next((cause for cause in KNOWN if role.startswith(cause.roles) and cause.pattern.search(line)), None)


def filled(advice: str, config: Mapping[str, object] | None) -> str:
    """The advice with the run's values behind its keys; without a config, the keys alone."""

    def value(found: re.Match[str]) -> str:
        key = found.group(1)
        if config is None:
            return key
        at: object = config
        for name in key.split("."):
            at = at.get(name) if isinstance(at, Mapping) else None
        return f"{key} (not set)" if at is None or at == {} else f"{key} ({at} now)"

    return re.sub(r"\{([a-z_.0-9]+)\}", value, advice)
