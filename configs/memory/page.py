"""Writes what `configs.memory` computes into the heads of the recipes and the table of docs/gpu.md.

    python -m configs.memory tests/data/models

The folder holds the Hugging Face config of each recipe's model, as `<name of the model>.json`.
"""

import json
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.arithmetic import amount, used_gpus
from configs.loader import load
from configs.memory.parts import Place
from configs.memory.table import TOY, Memory, in_gb, lines_of, memory_of, toy
from configs.schema import Config

FOLDER = Path(__file__).parents[1]
PAGE = FOLDER.parent / "docs" / "gpu.md"
LABEL, INDENT, WIDTH = "#   memory   ", "#            ", 140
BEGIN, END = "<!-- table memory -->", "<!-- end -->"
PHASES = ("generate", "backward", "update", "publish")
ON_CPU = ("tiny_cpu.toml", "tiny_distill.toml", "tiny_tool.toml", "tiny_game.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A shipped recipe for GPUs, with its model's Hugging Face config and the GPUs that its head names."""

    path: Path
    config: Config
    model: dict[str, Any]
    gpu_gb: float

    @property
    def memory(self) -> Memory:
        found = memory_of(self.config, self.model, self.gpu_gb)
        assert found is not None, f"{self.path.name}: its model is of a family that cannot be counted"
        return found


def recipes(models: Path) -> list[Recipe]:
    """All shipped recipes for GPUs, smallest model first."""
    found = [read(path, models) for path in sorted(FOLDER.glob("*.toml")) if path.name not in ON_CPU]
    return sorted(found, key=lambda recipe: (recipe.memory.sizes.total, used_gpus(recipe.config), recipe.path.name))


def read(path: Path, models: Path) -> Recipe:
    """A recipe whose model is the file of `models` that is called like it: `tiny.json` for `.cache/tiny/model`."""
    config = load(path)
    model = Path(config.model.path)
    name = model.parent.name if model.name == "model" else model.name
    size = re.search(r"GPUs? of (\d+) GB", path.read_text(encoding="utf-8"))
    return Recipe(
        path=path,
        config=config,
        model=json.loads((models / f"{name}.json").read_text(encoding="utf-8")),
        gpu_gb=float(size[1]) if size else 80.0,
    )


def head(recipe: Recipe) -> str:
    """The lines about memory in a recipe's head."""
    found = recipe.memory
    lines = [toy(found.sizes)] if found.sizes.total < TOY else ["GB, computed, never measured:", *lines_of(found)]
    wrapped = [part for line in lines for part in textwrap.wrap(line, WIDTH - len(LABEL), subsequent_indent="  ")]
    return "\n".join([LABEL + wrapped[0], *(INDENT + line for line in wrapped[1:])])


def with_head(text: str, lines: str) -> str:
    """A recipe's text with these lines about memory."""
    return re.sub(rf"^{LABEL}.*(\n{INDENT}.*)*", lambda _: lines, text, count=1, flags=re.MULTILINE)


def table(models: Path) -> str:
    """The table of docs/gpu.md: a row for each kind of GPU of each recipe."""
    lines = [
        f"| recipe | GPUs | on each | {' | '.join(PHASES)} | most of the peak | host of a learner node | keys and values of an engine |",
        f"|---|---|---|{'---|' * len(PHASES)}---|---|---|",
    ]
    for recipe in recipes(models):
        lines += rows(recipe)
    return "\n".join(lines)


def rows(recipe: Recipe) -> Iterator[str]:
    """The rows of one recipe; bold is the peak."""
    found = recipe.memory
    used = f"{used_gpus(recipe.config)} × {recipe.gpu_gb:.0f} GB"
    if found.sizes.total < TOY:
        yield f"| `{recipe.path.stem}` | {used_gpus(recipe.config)} | {toy(found.sizes)} | {'| ' * (len(PHASES) + 3)}".rstrip()
        return
    host = f"{in_gb(found.host.peak)} in {found.host.peak_phase}"
    kept = f"{amount(found.cache.tokens)} tokens, {found.cache.contexts:.3g} contexts"
    for number, place in enumerate(found.gpus):
        first = number == 0
        cells = [f"`{recipe.path.stem}`", used] if first else ["", ""]
        cells += [place.name, *(cell(place, phase) for phase in PHASES), most(place), host if first else "", kept if first else ""]
        yield f"| {' | '.join(cells)} |"


def cell(place: Place, phase: str) -> str:
    if phase not in place.phases:
        return "-"
    size = in_gb(place.total(phase))
    return f"**{size}**" if phase == place.peak_phase else size


def most(place: Place) -> str:
    """The three largest parts of the peak."""
    parts = sorted(place.at(place.peak_phase).items(), key=lambda part: -part[1])[:3]
    return ", ".join(f"{name} {in_gb(size)}" for name, size in parts)


def with_table(page: str, models: Path) -> str:
    """The text of docs/gpu.md with the table of today."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table(models)}\n\n{END}{rest.split(END, 1)[1]}"


def write(models: Path) -> None:
    """Rewrite the heads of all recipes, and the table."""
    for recipe in recipes(models):
        text = recipe.path.read_text(encoding="utf-8")
        recipe.path.write_text(with_head(text, head(recipe)), encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), models), encoding="utf-8")
