"""What a step was learned from: the passes of one rank, in host memory until the next step begins.

A step that has ended may turn out to be worth keeping: its update was dropped, or an alarm follows from its metrics. The trace holds what
a capsule needs by then. While a step learns it holds references alone; at the end of the step the few numbers of each token move to host
memory. Recorded experts lie there already and are not copied.

Legend: B responses of a micro-batch, P prompt tokens, T response tokens, S tokens with the prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from configs.presets import Preset
from learner.batch.fetched import Fetched
from learner.batch.plan import StepPlan
from learner.batch.recorded import Recording
from learner.batch.row import MicroBatch
from learner.batch.tensors import Batch
from learner.loss.objective import RATIOS, LossInputs, masked

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedPass:
    """A pass that learned a micro-batch; tensors are detached."""

    rows: MicroBatch
    batch: Batch
    inputs: LossInputs
    replay: Recording | None  # the experts that its tokens took
    logprobs: Tensor  # [B, T]
    old_logprobs: Tensor  # [B, T], of the policy at the start of the step
    measured_logprobs: Tensor | None  # [B, T], the same as a pass of its own measured them, for a KL in the reward
    entropy: Tensor | None  # [B, T], where its bonus is in the loss
    loss: Tensor  # of the micro-batch


@dataclass(kw_only=True)
class StepTrace:
    """One rank's passes of one step."""

    preset: Preset
    entropy_coefficient: float
    passes: list[LearnedPass] = field(default_factory=list)
    norms: list[float | None] = field(default_factory=list)  # of every update's gradient; None where it had no rows
    tables: list[Arrays] = field(default_factory=list)  # of every pass, once the step has ended

    def end(self, plan: StepPlan, fetched: Fetched, norms: Sequence[float]) -> None:
        """Move the numbers to host memory. `norms` are those of the updates that have rows."""
        left = iter(norms)
        self.norms = [next(left) if update.rows else None for update in plan.updates]
        numbers = {row.name: number for number, update in enumerate(plan.updates) for row in update.rows}
        counts = [0] * len(plan.updates)
        for one in self.passes:
            if one.rows:
                number = numbers[one.rows[0].name]
                self.tables.append(table_of(one, self.preset, fetched, number, counts[number]))
                counts[number] += 1
        self.passes = []

    def arrays(self) -> Arrays:
        """The rank's rows as arrays, those of all rows behind one another; `cluster.record.capsules.read` says what each is.

        Padding of recorded experts is left out only here, so that a step without a capsule copies none.
        """
        tables = [with_experts(table) for table in self.tables]
        shapes = {name: values[:0] for table in tables for name, values in table.items()}
        return {
            name: np.concatenate([table[name] if name in table else absent(table, like) for table in tables])
            for name, like in shapes.items()
        }


def table_of(one: LearnedPass, preset: Preset, fetched: Fetched, update: int, micro_batch: int) -> Arrays:
    """The arrays of one pass: numbers of tokens without padding, numbers of rows, and recorded experts as they lie."""
    batch = one.batch
    spread = batch.advantages[:, None].expand_as(batch.mask) if batch.advantages.dim() == 1 else batch.advantages
    of_tokens = {
        "mask": batch.mask,
        "logprobs": one.logprobs,
        "old_logprobs": one.old_logprobs,
        "measured_logprobs": one.measured_logprobs,
        "reference_logprobs": one.inputs.reference_logprobs,
        "ratios": ratios(preset, one.logprobs, one.inputs),
        "advantages": torch.where(batch.mask, spread, 0),
        "token_weights": batch.token_weight,
        "entropy": one.entropy,
        "log_shift": one.inputs.log_shift,
    }
    given = {name: values for name, values in of_tokens.items() if values is not None}
    place = batch.answers.flatten().nonzero().squeeze(1)
    numbers = host(torch.stack([values.detach().flatten()[place].float() for values in given.values()]))  # one copy from the device
    table: Arrays = dict(zip(given, numbers, strict=True)) | {"mask": numbers[list(given).index("mask")] > 0}
    table |= _of_rows(one.rows, fetched, update, micro_batch)
    table |= {"losses": host(one.loss.double())[None], "losses.update": np.array([update], np.int32)}
    recording = batch.experts if one.replay is None else one.replay
    if recording is not None:
        table |= {"experts": recording.experts.numpy(), "experts_known": recording.known.numpy(), "whole": host(batch.whole)}
    return table


@torch.no_grad()
def ratios(preset: Preset, logprobs: Tensor, inputs: LossInputs) -> Tensor:
    """The ratio of every token [B, T] as the surrogate sees it, 1 off the mask."""
    clean = inputs.cleaned()
    old = clean.old_logprobs if clean.log_shift is None else clean.old_logprobs - clean.log_shift
    return torch.where(inputs.mask, RATIOS[preset.ratio](masked(inputs.mask, logprobs), old, inputs.mask).exp(), 1)


def with_experts(table: Arrays) -> Arrays:
    """A table with its recorded experts row by row, without padding."""
    found = {name: values for name, values in table.items() if name != "whole"}
    return found | {name: found[name][table["whole"]] for name in ("experts", "experts_known") if name in found}


def absent(table: Arrays, like: NDArray[Any]) -> NDArray[Any]:
    """Zeros for what other passes have of each token and this one has not: recorded experts, or a shift of routers."""
    tokens = int(table["row.tokens"].sum())
    count = tokens if like.ndim == 1 and like.dtype == np.float32 else tokens + int(table["row.prompt_tokens"].sum())
    return np.zeros((count, *like.shape[1:]), like.dtype)


def _of_rows(rows: MicroBatch, fetched: Fetched, update: int, micro_batch: int) -> Arrays:
    """What is known of the rows before any pass; tokens are copied, since those fetched lie in the object store."""
    prompts, responses = [fetched.prompt(row) for row in rows], [fetched.response(row) for row in rows]
    spans = [response.spans for response in responses]
    engine = [response.logprobs for response in responses if response.logprobs is not None]
    numbers: dict[str, list[int]] = {
        "update": [update] * len(rows),
        "micro_batch": [micro_batch] * len(rows),
        "prompt_tokens": list(map(len, prompts)),
        "tokens": list(map(len, responses)),
        "turns": list(map(len, spans)),
        "by_turn": [len(row.by_turn) for row in rows],
        "oldest_version": [response.oldest_version for response in responses],
        "newest_version": [response.newest_version for response in responses],
        "own_context": [response.prompt_ids is not None for response in responses],
        **{name: [getattr(row, name) for row in rows] for name in ("group", "member", "segment", "first_turn")},
    }
    return {
        **{f"row.{name}": np.array(values, np.int32) for name, values in numbers.items()},
        **{f"row.{name}": np.array([getattr(row, name) for row in rows], np.float64) for name in ("advantage", "weight")},
        "by_turn": np.array([value for row in rows for value in row.by_turn], np.float64),
        "spans": np.concatenate(spans).astype(np.int32),
        "prompt_ids": np.concatenate(prompts).astype(np.int32),
        "token_ids": np.concatenate([response.token_ids for response in responses]).astype(np.int32),
        "sampled": np.concatenate([response.sampled for response in responses]),
        **({"engine_logprobs": np.concatenate(engine).astype(np.float32)} if engine else {}),
    }


def host(values: Tensor) -> NDArray[Any]:
    """A tensor's values in host memory."""
    found: NDArray[Any] = values.detach().cpu().numpy()
    return found
