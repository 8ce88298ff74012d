"""What a worker of vLLM does in a delta publish; mixed into it beside the receiver of whole weights."""

import traceback
from collections.abc import Sequence
from typing import Any

import torch

from rollout.delta.places import NoPlace
from rollout.delta.taker import PatchTaker, Raw, Refused
from rollout.transfer.proof import Proof, manifest_of
from rollout.worker.hold import hold
from rollout.worker.learned_copies import NotLearned
from rollout.worker.loading import Loading


class PatchReceiver:
    """Holds the weights of the last publish, and takes patches of them."""

    patches: PatchTaker | None = None  # None in a run that publishes whole weights only

    def expect_patches(self, info: dict[str, list[Any]]) -> None:
        """Hold the weights from the next whole publish on; `info` is its manifest in columns."""
        manifest = manifest_of(zip(info["names"], info["dtype_names"], info["shapes"], strict=True))
        if self.patches is not None and self.patches.manifest == manifest:
            return
        engine: Any = self.weight_transfer_engine  # type: ignore[attr-defined]
        device = next(engine.model.parameters()).device
        loading = getattr(engine, "loading", None) or Loading(engine.model, engine.model_config)
        loading.look = self.see
        try:
            self.patches = PatchTaker(manifest, hold(engine.model, manifest, loading), device)
        except (NotLearned, NoPlace) as refused:
            self.patches = PatchTaker(manifest, None, device, f"its model cannot be patched: {refused}")

    def whole_begins(self) -> None:
        """A whole publish begins."""
        if self.patches is not None:
            self.patches.begin()

    def see(self, weights: Sequence[tuple[str, torch.Tensor]]) -> None:
        """Look at tensors of a whole publish before they are loaded."""
        if self.patches is not None:
            self.patches.see(weights)

    def whole_is_loaded(self, proof: Proof, incomplete: Sequence[str]) -> None:
        """A whole publish is served, unless layers of it are incomplete."""
        if self.patches is not None and not incomplete:
            with torch.no_grad():
                self.patches.whole(proof)

    def take_patch(self, base: str, raws: Sequence[Raw]) -> tuple[str, Proof]:
        """Patch the weights with the fingerprint `base`: why it is refused, else nothing, and the digests of what the worker holds then.

        It raises nothing: with several workers vLLM takes the answers of an engine up to the first error, and would take those that are
        left for the answers to the next call.
        """
        if self.patches is None:
            return "no whole publish has reached it yet", {}
        try:
            with torch.no_grad():
                return "", self.patches.take(base, raws)
        except Refused as refused:
            return str(refused), {}
        except Exception as error:
            traceback.print_exc()
            return f"{type(error).__name__}: {error}", {}
