"""The Hugging Face configs of published models, by the name of the model."""

import json
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parents[1] / "data" / "models"


def model_named(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    return found
