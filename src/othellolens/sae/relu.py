"""ReLU SAE: f = relu((x - b_dec) W_enc + b_enc), x^ = f W_dec + b_dec.

Loss = mean over positions of |x^ - x|^2 + penalty * sum of f, decoder rows of unit norm (Bricken et
al. 2023, https://transformer-circuits.pub/2023/monosemantic-features). Tied: W_enc = W_dec^T
(Cunningham et al. 2023, https://arxiv.org/abs/2309.08600).

`Relu.of_the_notebook` is the autoencoder of the 2023 notebook with its faults mended: the L1 term
is a mean over the batch too, the decoder is normalised after the step and not before, and dead
features are resampled, not only counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import InputError
from .autoencoder import (
    Loss,
    Penalised,
    SparseAutoencoder,
    Weights,
    fresh,
    squared_error,
)
from .dense import activity
from .products import rectified
from .selection import cut


@dataclass(frozen=True)
class Relu(Penalised):
    """ReLU with an L1 penalty."""

    penalty: float = 2.0
    tied: bool = False
    """Whether the encoder is the decoder's transpose."""

    @staticmethod
    def of_the_notebook(width: int, l1_coeff: float, batch: int) -> "Relu":
        """The notebook's loss in our units: its L1 term was a sum over the batch, not a mean."""
        return Relu(width, penalty=l1_coeff * batch)

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "ReluSAE":
        if self.tied and d_out is not None:
            raise InputError("a transcoder cannot be tied: it reads and writes different sites")
        return ReluSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))

    def static(self) -> dict[str, object]:
        return {**super().static(), "tied": self.tied}


class ReluSAE(SparseAutoencoder):
    """See the head of this file."""

    architecture: ClassVar[str] = "relu"
    saved_as: ClassVar[str] = "standard"
    resampled: ClassVar[bool] = True
    separable: bool = True
    thins: ClassVar[bool] = True

    def __init__(self, recipes: Sequence[Relu], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.tied = recipes[0].tied
        self.b_enc = nn.Parameter(weights.b_enc)
        self.W_enc.requires_grad_(not self.tied)

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        return self.pre_activations(x).relu()

    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],  # noqa: ARG002
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        found = rectified(self, x)
        error = squared_error(found.rebuilt, y)
        penalty = self.weight() * activity(found.values, len(x))
        return Loss(error, penalty, torch.zeros_like(error)), found.features

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        if self.tied:
            self.W_enc.copy_(self.W_dec.mT)
        if self.recipe.sparsity_target is not None:
            z = self.pre_activations(x)
            self.b_enc.sub_(cut(z, self.recipe.sparsity_target * len(x)))
