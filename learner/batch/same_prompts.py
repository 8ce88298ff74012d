"""Which rows of a micro-batch have the same prompt, so that a pass may compute it once for all of them.

Every token of a prompt sees the prompt alone, so its states are the same in each row. Only recorded experts can tell them apart.
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learner.batch.recorded import Recording

Rows = NDArray[np.int64]  # [B], the first row with the prompt of each row


def same_prompts(prompts: Sequence[NDArray[np.integer]]) -> Rows:
    """The first row with the prompt of each row."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(prompt.astype(np.int64).tobytes(), i) for i, prompt in enumerate(prompts)], np.int64)


def shared_prompts(first: Rows, replay: Recording | None, width: int, device: torch.device) -> Tensor | None:
    """The row whose prompt a pass computes for each row [B]; None where every row needs its own.

    With `replay`, a row shares a prompt only if it replays the same experts over the prompt's `width` columns.
    """
    if replay is not None:
        with_first = torch.from_numpy(first)
        experts, known = replay.experts[:, :width], replay.known[:, :width]
        alike = (experts == experts[with_first]).flatten(1).all(1) & (known == known[with_first]).all(1)
        first = np.where(alike.cpu().numpy(), first, np.arange(len(first)))
    if (first == np.arange(len(first))).all():
        return None
    return torch.from_numpy(first).to(device)
