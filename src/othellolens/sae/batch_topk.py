"""BatchTopK SAE (Bussmann, Leask & Nanda 2024, https://arxiv.org/abs/2412.06410).

z = relu((x - b_dec) W_enc + b_enc). In training the k * N largest z of a batch of N positions stay
and the rest are 0; afterwards f = z where z > theta, with one theta calibrated at the end so that
the mean number of active features is k, so `encode` never depends on who else is in the batch.
Loss = mean |x^ - x|^2 + AuxK: dead features reconstruct what is left over (Gao et al. 2024,
https://arxiv.org/abs/2406.04093, appendix A.2), relative to the variance of the left-over.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..errors import InputError
from .autoencoder import Loss, SparseAutoencoder, tied_weights


@dataclass(frozen=True)
class BatchTopK:
    """The k largest activations a position, on average over the batch."""

    width: int = 1024
    """Number of features."""
    k: int = 32
    """Mean number of active features a position."""
    aux: float = 1 / 32
    """Weight of the AuxK loss, both losses as fractions of variance."""

    def __post_init__(self) -> None:
        if not 0 < self.k <= self.width:
            raise InputError(f"k is {self.k}: it must be from 1 to the width, {self.width}")

    def build(self, d_in: int, *, seed: int) -> "BatchTopKSAE":
        """A fresh SAE."""
        return BatchTopKSAE(d_in, self, seed=seed)


class BatchTopKSAE(SparseAutoencoder):
    """See the head of this file. `threshold` [feature] is theta."""

    architecture: ClassVar[str] = "batchtopk"
    saved_as: ClassVar[str] = "jumprelu"
    resampled: ClassVar[bool] = False
    threshold: Tensor

    def __init__(self, d_in: int, recipe: BatchTopK, *, seed: int = 0) -> None:
        super().__init__()
        self.recipe: BatchTopK = recipe
        tied_weights(self, d_in, recipe.width, seed)
        self.register_buffer("threshold", torch.zeros(recipe.width))

    def encode(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position feature"]:
        z = self.pre_activations(x)
        return z.relu() * (z > self.threshold)

    def loss(
        self, x: Float[Tensor, "position d_in"], dead: Bool[Tensor, " feature"]
    ) -> tuple[Loss, Float[Tensor, "position feature"]]:
        z = self.pre_activations(x).relu()
        features = keep_largest(z, self.recipe.k * len(x))
        left_over = x - self.decode(features)
        error = left_over.pow(2).sum(1).mean()
        return Loss(
            error, torch.zeros_like(error), self._aux(z, left_over.detach(), dead)
        ), features

    def _aux(self, z: Tensor, left_over: Tensor, dead: Tensor) -> Tensor:
        number = int(dead.sum())
        if not number:
            return z.new_zeros(())
        k_aux = min(left_over.shape[1] // 2, number)
        # Dead features seldom clear zero, so what they see is ranked before the ReLU would cut it.
        weak = z[:, dead]
        kept = weak.topk(k_aux, dim=1)
        chosen = torch.zeros_like(weak).scatter(1, kept.indices, kept.values)
        error = (chosen @ self.W_dec[dead] - left_over).pow(2).sum(1).mean()
        spread = (left_over - left_over.mean(0)).pow(2).sum(1).mean()
        # The reconstruction loss is d_in times a fraction of variance, so this one is too.
        return self.recipe.aux * left_over.shape[1] * error / spread.clamp(min=1e-12)

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        z = self.pre_activations(x).relu()
        number = self.recipe.k * len(x)
        # Halfway between the last that stays and the first that goes: on neither's rounding error.
        self.threshold.fill_((largest_dropped(z, number) + largest_dropped(z, number - 1)) / 2)


def keep_largest(
    z: Float[Tensor, "position feature"], number: int
) -> Float[Tensor, "position feature"]:
    """`z` with all but its `number` largest entries set to 0."""
    return z * (z > largest_dropped(z.detach(), number))


@torch.no_grad()
def largest_dropped(z: Float[Tensor, "position feature"], number: int) -> Float[Tensor, ""]:
    """The value above which just `number` entries of `z` lie (0 where fewer are positive)."""
    flat = z.flatten()
    if number >= len(flat):
        return flat.new_zeros(())
    rank = len(flat) - number
    if flat.device.type == "cpu":
        # numpy's selection is vectorised and took 14 ms where kthvalue took 35 (4 million entries).
        return torch.tensor(np.partition(flat.numpy(), rank - 1)[rank - 1])
    return flat.kthvalue(rank).values
