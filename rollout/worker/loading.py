"""How an engine's worker loads the tensors of one publish: by learned copies where the model allows them, else by vLLM's own reload."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from vllm.config import ModelConfig
from vllm.logger import init_logger
from vllm.platforms import current_platform

from rollout.transfer.digest import read, sums
from rollout.transfer.proof import Manifest, Proof
from rollout.worker.direct import DirectLoader
from rollout.worker.direct_proof import prove
from rollout.worker.learned_copies import NotLearned
from rollout.worker.reload import abandon_reload, begin_reload, end_reload, incomplete_layers, missing_buffers

logger = init_logger(f"vllm.{__name__}")  # vLLM configures the loggers of its own name only


class Loading:
    """Loads publishes into one model, and digests every tensor that it loads."""

    def __init__(self, model: torch.nn.Module, config: ModelConfig) -> None:
        self.model, self.config = model, config
        self.manifest: Manifest = ()  # for which it is known how to load
        self.direct: DirectLoader | None = None
        self.refused = ""  # why the copies of its loaders were not learned
        self.seen: dict[str, Tensor] = {}  # digests of this publish, not read yet
        self.look: Callable[[Sequence[tuple[str, Tensor]]], object] = len  # sees every tensor of a publish before it is loaded

    @property
    def keeps(self) -> bool:
        """Whether it looks at a tensor after `load` has returned: vLLM's reload does, until its layer is complete."""
        return self.direct is None

    def begin(self, manifest: Manifest) -> None:
        """Expect a publish of this manifest."""
        if manifest != self.manifest:
            self.direct, self.manifest = self._learn(manifest), manifest
        self.seen = {}
        if self.direct is None:
            begin_reload(self.model)
        else:
            self.direct.begin()

    def load(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        """Digest and load some tensors."""
        self.seen.update((name, sums(tensor)) for name, tensor in weights)
        self.look(weights)
        self.bring(weights)

    def bring(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        """Load some tensors."""
        if self.direct is None:
            loading: Any = self.model  # its `load_weights` is a convention of vLLM, not of torch
            loading.load_weights(weights)
        else:
            self.direct.load(weights)

    def proof(self) -> tuple[Proof, list[str]]:
        """What was loaded since `begin`, and every layer that was not loaded in full. Call it before `end`."""
        proof, self.seen = read(self.seen), {}
        incomplete = incomplete_layers(self.model) if self.direct is None else self.direct.unfinished()
        return proof, [*incomplete, *missing_buffers(self.model, proof)]

    def end(self) -> None:
        """Serve with what was loaded."""
        if self.direct is None:
            end_reload(self.model, self.config)
        else:
            self.direct.end()

    def abandon(self) -> None:
        """End a publish half-way. Layers may have weights of two versions, so the engine must not serve before a whole one."""
        if self.direct is None:
            abandon_reload(self.model, self.config)
        else:
            self.direct.begin()

    def _learn(self, manifest: Manifest) -> DirectLoader | None:
        try:
            if not current_platform.is_cpu():
                raise NotLearned("it serves on a GPU, whose kernels want weights in forms that vLLM's reload alone makes")
            loader = DirectLoader(self.model, manifest)
            prove(loader, self.config)
        except NotLearned as refused:
            self.refused = str(refused)
            logger.info("Publishes are loaded by vLLM's own reload, which is slower: %s.", refused)
            return None
        self.refused = ""
        return loader
