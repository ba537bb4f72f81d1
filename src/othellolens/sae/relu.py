"""ReLU SAE: f = relu((x - b_dec) W_enc + b_enc), x^ = f W_dec + b_dec.

Loss = mean over positions of |x^ - x|^2 + l1 * sum of f, decoder rows of unit norm (Bricken et al.
2023, https://transformer-circuits.pub/2023/monosemantic-features). This is the autoencoder of the
2023 notebook with its faults mended: the L1 term is a mean over the batch too, the decoder is
normalised after the step and not before, and dead features are resampled, not only counted.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .autoencoder import Loss, SparseAutoencoder, tied_weights


@dataclass(frozen=True)
class Relu:
    """ReLU with an L1 penalty."""

    width: int = 1024
    """Number of features."""
    l1: float = 2.0
    """Weight of the L1 penalty, for inputs of mean norm sqrt(d_in)."""

    def build(self, d_in: int, *, seed: int) -> "ReluSAE":
        """A fresh SAE."""
        return ReluSAE(d_in, self, seed=seed)


class ReluSAE(SparseAutoencoder):
    """See the head of this file."""

    architecture: ClassVar[str] = "relu"
    saved_as: ClassVar[str] = "standard"
    resampled: ClassVar[bool] = True

    def __init__(self, d_in: int, recipe: Relu, *, seed: int = 0) -> None:
        super().__init__()
        self.recipe: Relu = recipe
        tied_weights(self, d_in, recipe.width, seed)

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        return self.pre_activations(x).relu()

    def loss(
        self,
        x: Float[Tensor, "position d_in"],
        dead: Bool[Tensor, " feature"],  # noqa: ARG002
    ) -> tuple[Loss, Float[Tensor, "position feature"]]:
        features = self.encode(x)
        error = (self.decode(features) - x).pow(2).sum(1).mean()
        penalty = self.recipe.l1 * features.sum(1).mean()
        return Loss(error, penalty, torch.zeros_like(error)), features

    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        pass
