"""A mixture of experts in a few lines and float64 that routes like the policy."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from learner.batch.layout import lay_out
from learner.batch.recorded import Recording
from learner.batch.tensors import Batch
from learner.experts.routing import Balance, Pass, Routing, Watcher
from learner.model.logprobs import token_logprobs
from tests.toys.learner import VOCABULARY

LAYERS, EXPERTS, TOP_K, WIDTH = 2, 5, 2, 6


class ToyMixture(nn.Module):
    """Layers of experts without attention; stands in for policy and ZeRO engine of one rank."""

    world = 1

    def __init__(self, *, packed: bool = False, checkpoints: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.packed, self.checkpoints, self.routing = packed, checkpoints, Routing()
        self.embedding, self.place = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(32, WIDTH)
        self.routers = nn.ModuleList(nn.Linear(WIDTH, EXPERTS, bias=False) for _ in range(LAYERS))
        self.experts = nn.ParameterList(nn.Parameter(torch.randn(EXPERTS, WIDTH, WIDTH) / 3) for _ in range(LAYERS))
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.double()

    def forward(
        self, batch: Batch, replay: Recording | None = None, watchers: Sequence[Watcher] = (), balance: Balance | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-probs of the response tokens, and their entropy."""
        layout = lay_out(batch.attention, packed=self.packed)
        hidden = layout.flat(self.embedding(batch.token_ids) + self.place(batch.position_ids))
        with self.routing.during(Pass(layout, replay, watchers, balance)):
            for layer in range(LAYERS):
                # Layers are numbered as in a model where only odd layers have experts.
                if self.checkpoints:
                    hidden = checkpoint(self.block, layer, hidden, use_reentrant=False, context_fn=self.routing.again)
                else:
                    hidden = self.block(layer, hidden)
        logits = self.head(layout.padded(hidden)[:, batch.prompt_width - 1 : -1])
        return token_logprobs(logits, batch.token_ids[:, batch.prompt_width :], temperature=1.0)

    def block(self, layer: int, hidden: Tensor) -> Tensor:
        """One layer of experts: [N, H] -> [N, H]."""
        probs = self.routing.balanced(2 * layer + 1, self.routers[layer](hidden).softmax(-1))
        taken = self.routing.take(2 * layer + 1, probs, TOP_K)
        each = torch.einsum("nh,ehi->nei", hidden, self.experts[layer]).tanh()
        chosen = each.gather(1, taken[..., None].expand(-1, -1, WIDTH))
        return hidden + (probs.gather(-1, taken)[..., None] * chosen).sum(1)


class Probabilities:
    """A watcher that stores router probabilities and experts taken, as padded batches."""

    def __init__(self, *, graph: bool = False) -> None:
        self.graph = graph
        self.probs: dict[int, Tensor] = {}
        self.taken: dict[int, Tensor] = {}

    def see(self, layer: int, probs: Tensor, taken: Tensor, layout: object) -> None:
        self.probs[layer], self.taken[layer] = layout.padded(probs if self.graph else probs.detach()), layout.padded(taken)  # type: ignore[attr-defined]
