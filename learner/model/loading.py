"""A checkpoint into a model, one parameter at a time; each byte is read by one rank only.

    files ──(one rank)──► the tensors of one parameter ──► cast, and joined as transformers says ──► every rank keeps its part ──► freed

transformers makes the model and finishes it. Its own reading is replaced, because there every rank reads and joins the whole checkpoint.
"""

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.core_model_loading import WeightConverter, WeightRenaming, build_glob_alternation, dot_natural_key, rename_source_key
from transformers.utils import logging
from transformers.utils.loading_report import LoadStateDictInfo

from configs.families import BLOCK, DOWN, GATE_UP
from learner.model.stored import Stored

EXPERTS = tuple(f".{BLOCK}.experts.{leaf}" for leaf in (GATE_UP, DOWN))
FREQUENCIES = "inv_freq"  # ends of the names of the rotary embedding's buffers
LAYER = re.compile(r"\.layers\.(\d+)\.")


class Fill(Protocol):
    """Gives a parameter that is sharded over ranks its values. A collective."""

    def __call__(self, parameter: nn.Parameter, value: Tensor | None, reader: int) -> None:
        """`value` is the whole parameter on the rank `reader`, None on the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Division:
    """What of a model this rank keeps, and where."""

    device: torch.device  # where parameters are joined, travel and stay
    fill: Fill | None = None  # with ZeRO-3, whose parameters are sharded as soon as they exist; None where this rank has them whole
    share: int = 0  # which part of every layer's experts AutoEP takes from this rank's model
    shares: int = 1


@dataclass(slots=True)
class Piece:
    """Tensors on disk that become one parameter, or several, of the model."""

    name: str  # the parameter, the first one where there are several
    transform: Any  # transformers' own, for these tensors alone
    sources: list[tuple[str, str]] = field(default_factory=list)  # name on disk, and the transform's pattern that fits it

    def joined(self, model: Any, read: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The parameters by name, made of what `read` returns for names on disk."""
        transform = copy.deepcopy(self.transform)
        for name, pattern in self.sources:
            transform.add_tensor(self.name, name, pattern, partial(read, name))
        made = transform.convert(self.name, model=model, config=model.config)
        return {name: value[0] if isinstance(value, list) else value for name, value in made.items()}


@contextmanager
def reading_once(division: Division) -> Iterator[None]:
    """Within: `from_pretrained` reads safetensors as this module does. Pickles and quantised weights it reads in its own way."""
    models: Any = PreTrainedModel
    theirs = models._load_pretrained_model

    def read(model: Any, state_dict: Any, files: list[str] | None, settings: Any, *args: Any, **more: Any) -> Any:
        plain = state_dict is None and not settings.is_quantized and settings.device_mesh is None
        if not plain or not files or not all(file.endswith(".safetensors") for file in files):
            return theirs(model, state_dict, files, settings, *args, **more)
        with Stored(files) as stored:
            return load(model, stored, settings, division), None

    models._load_pretrained_model = staticmethod(read)
    try:
        yield
    finally:
        models._load_pretrained_model = staticmethod(theirs)


def load(model: Any, stored: Stored, settings: Any, division: Division) -> LoadStateDictInfo:
    """Fill the model; what is missing and what is left over. Without a process group, this rank reads alone.

    ValueError, before anything is read, where tensors cannot be joined or have another shape; later where numbers are not finite.
    """
    slots: dict[str, Any] = dict(model.state_dict(keep_vars=True))
    conversions = settings.weight_mapping or []
    pieces, unexpected = pieces_of(model, slots, stored, conversions)
    shapes = {piece.name: shapes_of(model, piece, stored, slots) for piece in pieces}
    made = {name for parts in shapes.values() for name in parts}
    restore_frequencies(model)
    types = types_of(slots, settings, kept=division.fill is not None)
    for piece in logging.tqdm(pieces, desc="Loading weights", disable=dist.is_initialized() and dist.get_rank() > 0):
        load_piece(model, piece, stored, slots, shapes[piece.name], types[piece.name], division)
    model._weight_conversions = [conversion for conversion in conversions if conversion.was_used()]
    return LoadStateDictInfo(
        missing_keys=set(slots) - made,
        unexpected_keys=unexpected,
        mismatched_keys=set(),
        error_msgs=[],
        conversion_errors={},
        skipped_pp_keys=set(),
    )


def restore_frequencies(model: Any) -> None:
    """Make the rotary embedding's frequencies float32 again; transformers then computes them anew.

    Under ZeRO-3 DeepSpeed makes every tensor of a new model bfloat16. Rounded frequencies turn positions of a few thousand by
    other angles than the engine's.
    """
    for name, buffer in model.named_non_persistent_buffers():
        if name.endswith(FREQUENCIES):
            buffer.data = buffer.data.float()


def load_piece(
    model: Any,
    piece: Piece,
    stored: Stored,
    slots: Mapping[str, Any],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    division: Division,
) -> None:
    """One rank reads, and all take their parts. Nothing whole is left behind, not even in a variable of the caller's."""
    rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    reader, values = reader_of(piece.name, world), {}
    if rank == reader:
        values = piece.joined(model, lambda name: stored.read(name).to(division.device, dtype))
        refuse_not_finite(values, piece, stored)
    for name, shape in shapes.items():
        value, slot = values.pop(name, None), slots[name]
        if division.fill is not None and isinstance(slot, nn.Parameter):
            division.fill(slot, value, reader)
            slot.__dict__["_is_hf_initialized"] = True  # else transformers draws initial values
            continue
        whole = torch.empty(shape, dtype=dtype, device=division.device) if value is None else value.contiguous()
        if world > 1:
            dist.broadcast(whole.view(-1).view(torch.uint8), src=reader)
        put(model, name, own_part(name, whole, division))


def shapes_of(model: Any, piece: Piece, stored: Stored, slots: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of what a piece makes; ValueError where its tensors cannot be joined or the model needs others."""
    first = piece.sources[0][0]
    given = f"{piece.name}, made of {len(piece.sources)} tensors from {first} in {stored.home[first]}"
    try:
        made = {name: tuple(part.shape) for name, part in piece.joined(model, stored.empty).items()}
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"{given}: they do not fit together ({error}): download the model again") from error
    for name, shape in made.items():
        needed = whole_shape(slots[name]) if name in slots else "no such tensor"
        if shape != needed:
            raise ValueError(f"{given}: {name} has the shape {shape}, needed {needed}: use weights that fit the folder's config.json")
    return made


def pieces_of(model: Any, slots: dict[str, Any], stored: Stored, conversions: list[Any]) -> tuple[list[Piece], set[str]]:
    """The parameters that tensors on disk make, in the order of their names, and the names for which the model has no place."""
    renamings = [one for one in conversions if isinstance(one, WeightRenaming)]
    converters = [one for one in conversions if isinstance(one, WeightConverter)]
    owners = {pattern: converter for converter in converters for pattern in converter.source_patterns}
    pieces: dict[str, Piece] = {}
    unexpected: set[str] = set()
    for name in sorted(stored.shapes, key=dot_natural_key):
        renamed, pattern = rename_source_key(name, renamings, converters, model.base_model_prefix, slots)
        if renamed not in slots and name in slots:  # on disk it already has the name that it has here
            renamed, pattern = name, None
        if renamed not in slots:
            unexpected.add(renamed)
            continue
        if renamed not in pieces:
            made_by = copy.deepcopy(owners[pattern]) if pattern else WeightRenaming(name, renamed)
            pieces[renamed] = Piece(renamed, made_by)
        pieces[renamed].sources.append((name, pattern or name))
    return list(pieces.values()), unexpected


def reader_of(name: str, world: int) -> int:
    """The rank that reads a parameter. Layers take turns, so that all nodes read and no rank fills its page cache alone."""
    layer = LAYER.search(name)
    return int(layer[1]) % world if layer else 0


def types_of(slots: Mapping[str, Any], settings: Any, *, kept: bool) -> dict[str, torch.dtype]:
    """The type of every parameter and buffer; those that exist already are `kept`, else transformers may want some in float32."""
    plan = {} if kept else settings.dtype_plan or {}
    types = {name: slot.dtype for name, slot in slots.items()}
    if plan:
        pattern, by_group, _ = build_glob_alternation(list(plan))
        found = {name: match.lastgroup for name in slots if (match := pattern.search(name))}
        types |= {name: plan[by_group[group]] for name, group in found.items() if group is not None}
    return types


def whole_shape(slot: Tensor) -> tuple[int, ...]:
    """The shape of a parameter or buffer; ZeRO-3 leaves an empty placeholder and writes the shape beside it."""
    return tuple(getattr(slot, "ds_shape", slot.shape))


def own_part(name: str, whole: Tensor, division: Division) -> Tensor:
    """What this rank keeps of a parameter: all of it, or of all experts those that AutoEP takes from this rank's model.

    The experts of other ranks are never written, so their pages take no memory; the tensor is in host memory, where that is so.
    """
    if division.shares == 1 or whole.dim() != 3 or not name.endswith(EXPERTS):  # noqa: PLR2004 - fused experts are [experts, out, in]
        return whole
    held = torch.empty(whole.shape, dtype=whole.dtype)
    size = len(whole) // division.shares
    mine = slice(division.share * size, (division.share + 1) * size)
    held[mine] = whole[mine]
    return held


def put(model: nn.Module, name: str, value: Tensor) -> None:
    """Make `value` the parameter or buffer of that name, and say that it needs no initial values."""
    owner, _, leaf = name.rpartition(".")
    module = model.get_submodule(owner)
    held: Any = value if leaf in module._buffers else nn.Parameter(value, requires_grad=value.is_floating_point())
    held._is_hf_initialized = True
    setattr(module, leaf, held)


def refuse_not_finite(values: Mapping[str, Tensor], piece: Piece, stored: Stored) -> None:
    """Raise ValueError where a parameter has NaN or infinity in it. A sum sees both in one pass; it alone may overflow."""
    for name, value in values.items():
        if value.is_floating_point() and not value.sum().isfinite() and not value.isfinite().all():
            first = piece.sources[0][0]
            raise ValueError(f"{name} has numbers that are not finite, from {first} in {stored.home[first]}: use another checkpoint")
