"""The order in which a run uses its prompts: one stream, or a mixture of one stream for each source."""

from collections.abc import Mapping
from fractions import Fraction
from zlib import crc32

from configs.sections.data import DataConfig
from rollout.seeds import derive_seed
from rollout.window.difficulty import DifficultyStream
from rollout.window.mixture import Mixture
from rollout.window.stream import PromptStream, Stream


def open_stream(data: DataConfig, sizes: Mapping[str, int], seed: int) -> Stream:
    """The stream that `[data]` asks for, at its beginning. `sizes` has the prompts of each source; of `data.train` under ""."""
    if not data.sources:
        return open_one(data, sum(sizes.values()), seed)
    names = list(sizes)
    streams = [open_one(data, size, derive_seed(seed, crc32(name.encode()))) for name, size in sizes.items()]
    return Mixture(names, streams, list(sizes.values()), list(shares_of(data, sizes).values()))


def open_one(data: DataConfig, size: int, seed: int) -> Stream:
    """The stream over `size` prompts that data.sampler asks for."""
    if data.sampler == "uniform":
        return PromptStream(size, seed)
    return DifficultyStream(size, seed, floor=float(data.difficulty_floor), half_life=float(data.difficulty_half_life))


def shares_of(data: DataConfig, sizes: Mapping[str, int]) -> dict[str, Fraction]:
    """The share of each source, exactly as its decimals are written; by their numbers of prompts where no source has one."""
    given = {name: size if (share := data.sources[name].share) is None else Fraction(str(share)) for name, size in sizes.items()}
    whole = sum(given.values())
    return {name: Fraction(share) / whole for name, share in given.items()}
