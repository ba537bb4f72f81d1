"""BatchTopK SAE (Bussmann, Leask & Nanda 2024, https://arxiv.org/abs/2412.06410).

z = relu((x - b_dec) W_enc + b_enc). In training the k * N largest z of a batch of N positions stay
and the rest are 0; afterwards f = z where z > theta, with one theta calibrated at the end so that
the mean number of active features is k, so `encode` never depends on who else is in the batch.
Loss = mean |x^ - x|^2 + AuxK (see `sae.aux_k`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .autoencoder import Loss, Sparse, SparseAutoencoder, Weights, fresh, squared_error
from .aux_k import aux_k
from .products import kept
from .selection import cut


@dataclass(frozen=True)
class BatchTopK(Sparse):
    """The k largest activations a position, on average over the batch."""

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "BatchTopKSAE":
        return BatchTopKSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))


class BatchTopKSAE(SparseAutoencoder):
    """See the head of this file. `threshold` [feature] is theta."""

    architecture: ClassVar[str] = "batchtopk"
    saved_as: ClassVar[str] = "jumprelu"
    compiles: ClassVar[bool] = False
    saved: ClassVar[tuple[str, ...]] = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    offsets: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")
    threshold: Tensor

    def __init__(self, recipes: Sequence[BatchTopK], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.ks = [recipe.k for recipe in recipes]
        self.b_enc = nn.Parameter(weights.b_enc)
        self.register_buffer("threshold", torch.zeros_like(weights.b_enc))

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        z = self.pre_activations(x)
        return z.relu() * (z > self.threshold[..., None, :])

    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        found = kept(self, x, self.ks, each=False)
        error = squared_error(found.rebuilt, y)
        revival = self.each("aux") * aux_k(self, x, y - found.rebuilt, dead)
        return Loss(error, torch.zeros_like(error), revival), found.features

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        self.threshold.fill_(cut(self.pre_activations(x).relu(), self.ks[0] * len(x)))
