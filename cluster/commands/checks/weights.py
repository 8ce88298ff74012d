"""Whether a folder's weights are those of the model that its config.json describes, from the headers alone.

transformers itself compares names and shapes, with its own renaming and joining of experts, on tensors that hold no data.
"""

import copy
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cluster.commands.checks.headers import AGAIN, Header, read_headers, some
from configs.families import Family, family_of, number_of_experts

FLOATS = ("F64", "F32", "F16", "BF16")  # types of weights that can be trained
LAYER = re.compile(r"\.layers\.(\d+)\.")
# What transformers raises for numbers in a config.json that no model can have, and for tensors that it cannot join.
UNBUILDABLE = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, AssertionError)


def refuse_other_weights(key: str, path: str, settings: Any) -> None:
    """Raise ValueError where tensors are missing, damaged or of another shape; `settings` is the model's Hugging Face config.

    The folder is one that `model_folder` accepts, and its model one that `refuse_kind` accepts.
    """
    tensors = read_headers(key, Path(path))
    family = family_of(settings.model_type)
    model = settings.to_dict()
    # A check runs only where those before it found nothing: transformers would build as many layers as config.json says.
    faults = list(absent_layers(model, tensors)) or list(faults_of_experts(family, model, tensors))
    faults = faults or list(faults_by_transformers(settings, tensors))
    if faults:
        raise ValueError(f"{key} {path} does not hold the weights that its config.json describes: {'; '.join(faults)}: {AGAIN}")
    refuse_types(key, path, tensors)


def refuse_types(key: str, path: str, tensors: dict[str, Header]) -> None:
    """Raise ValueError where a tensor is of a type that no plain weight has: a cast would load quantised numbers without their scales."""
    if other := [f"{name} in {header.dtype} (in {header.file})" for name, header in sorted(tensors.items()) if header.dtype not in FLOATS]:
        raise ValueError(
            f"{key} {path} has {some(other, len(other))}, needed weights in {', '.join(FLOATS)}: give the unquantised model in bfloat16"
        )


def absent_layers(model: dict[str, Any], tensors: dict[str, Header]) -> Iterator[str]:
    """A line if config.json has more layers than there are tensors for."""
    there = {int(match[1]) for name in tensors if (match := LAYER.search(name))}
    layers = model["num_hidden_layers"]
    if layers > (known := max(there, default=-1) + 1):
        yield f"it has tensors for {known} of {layers} layers"


def faults_of_experts(family: Family, model: dict[str, Any], tensors: dict[str, Header]) -> Iterator[str]:
    """What is wrong with experts that are tensors of their own: transformers only says that it could not join them."""
    names, experts, hidden = family.names, number_of_experts(model), model["hidden_size"]
    if family.dense:
        return
    inner = model.get("moe_intermediate_size") or model["intermediate_size"]
    shapes = {names.gate: (inner, hidden), names.up: (inner, hidden), names.down: (hidden, inner)}
    pattern = re.compile(rf"(.*\.{names.block}\.experts)\.(\d+)\.({'|'.join(shapes)})\.weight")
    found = {name: match for name in tensors if (match := pattern.fullmatch(name))}
    blocks = dict.fromkeys(match[1] for match in found.values())
    wanted = (f"{block}.{expert}.{part}.weight" for block in blocks for expert in range(experts) for part in shapes)
    fitting = sum(int(match[2]) < experts for match in found.values())
    if missing := len(blocks) * experts * len(shapes) - fitting:
        yield f"it lacks {some((name for name in wanted if name not in tensors), missing)}"
    if extra := sorted(name for name, match in found.items() if int(match[2]) >= experts):
        yield f"it has {some(extra, len(extra))}, beyond the {experts} experts of a layer"
    wrong = [
        f"{name} {list(tensors[name].shape)}, needed {list(shapes[match[3]])} (in {tensors[name].file})"
        for name, match in found.items()
        if tensors[name].shape != shapes[match[3]]
    ]
    if wrong:
        yield f"shapes differ: {some(wrong, len(wrong))}"


def faults_by_transformers(settings: Any, tensors: dict[str, Header]) -> Iterator[str]:
    """What transformers' own loader reports as missing, left over or of another shape."""
    import torch
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if type(settings) not in MODEL_FOR_CAUSAL_LM_MAPPING:  # a class of the model's own folder, with names of its own
        return
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(settings)]
    # The type of the numbers does not matter here: names and shapes are compared.
    empty = {name: torch.empty(header.shape, dtype=torch.bfloat16, device="meta") for name, header in tensors.items()}
    with _quiet():
        try:
            _, report = kind.from_pretrained(
                None,
                config=copy.deepcopy(settings),
                state_dict=empty,
                device_map="meta",
                dtype=torch.bfloat16,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except UNBUILDABLE as error:
            yield f"transformers cannot build that model from them ({type(error).__name__}: {error})"
            return
    shapes = {name: (list(there), list(needed)) for name, there, needed in report.get("mismatched_keys") or ()}
    if missing := sorted(set(report.get("missing_keys") or ()) - set(shapes)):
        yield f"it lacks {some(missing, len(missing))}"
    if extra := sorted(report.get("unexpected_keys") or ()):
        yield f"it has {some(extra, len(extra))}, for which the model has no place"
    files = {name: f" (in {tensors[name].file})" for name in shapes if name in tensors}  # no one file where transformers joins tensors
    if wrong := [f"{name} {there}, needed {needed}{files.get(name, '')}" for name, (there, needed) in sorted(shapes.items())]:
        yield f"shapes differ: {some(wrong, len(wrong))}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' own table of what it found, its progress bar, and DeepSpeed's warning as it is imported."""
    from transformers.utils import logging as theirs

    before, bar, disabled = theirs.get_verbosity(), theirs.is_progress_bar_enabled(), logging.root.manager.disable
    theirs.set_verbosity(logging.CRITICAL)
    theirs.disable_progress_bar()
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        theirs.set_verbosity(before)
        if bar:
            theirs.enable_progress_bar()
