"""TopK SAE (Gao et al. 2024, https://arxiv.org/abs/2406.04093).

f = the k largest of relu((x - b_dec) W_enc + b_enc) at every position, in training and after.
Loss = mean |x^ - x|^2 + AuxK (see `sae.aux_k`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import InputError
from .autoencoder import Loss, Sparse, SparseAutoencoder, Weights, fresh, squared_error
from .aux_k import aux_k
from .products import kept
from .selection import keep_top


@dataclass(frozen=True)
class TopK(Sparse):
    """The k largest activations at every position."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k != int(self.k):
            raise InputError(f"k is {self.k:g}: TopK keeps a whole number; BatchTopK a mean")

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "TopKSAE":
        return TopKSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))


class TopKSAE(SparseAutoencoder):
    """See the head of this file."""

    architecture: ClassVar[str] = "topk"
    saved_as: ClassVar[str] = "topk"
    compiles: ClassVar[bool] = False

    def __init__(self, recipes: Sequence[TopK], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.ks = [int(recipe.k) for recipe in recipes]
        self.b_enc = nn.Parameter(weights.b_enc)

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        return keep_top(self.pre_activations(x).relu(), self.ks)

    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        found = kept(self, x, self.ks, each=True)
        error = squared_error(found.rebuilt, y)
        revival = self.each("aux") * aux_k(self, x, y - found.rebuilt, dead)
        return Loss(error, torch.zeros_like(error), revival), found.features

    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        pass

    def saved_settings(self) -> dict[str, Any]:
        return {"k": self.ks[0], "rescale_acts_by_decoder_norm": False}
