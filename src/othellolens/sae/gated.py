"""Gated SAE (Rajamanoharan et al. 2024, https://arxiv.org/abs/2404.16014).

c = (x - b_dec) W_enc; pi = c + b_gate; f = 1[pi > 0] * relu(c exp(r_mag) + b_mag): one weight
matrix, one path that decides whether a feature is on and one that says how much.
Loss = mean |x^ - x|^2 + penalty * sum of relu(pi) + mean |x - (relu(pi) W_dec + b_dec)|^2, the
decoder and its bias constant in the last term (eq. 8): it trains the gate alone.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .autoencoder import (
    Loss,
    Penalised,
    SparseAutoencoder,
    Weights,
    fresh,
    squared_error,
)
from .dense import activity
from .selection import cut


@dataclass(frozen=True)
class Gated(Penalised):
    """A gate with an L1 penalty."""

    penalty: float = 2.0

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "GatedSAE":
        return GatedSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))


class Gate(SparseAutoencoder):
    """What the gated architectures share; see the head of this file."""

    saved_as: ClassVar[str] = "gated"
    resampled: ClassVar[bool] = True
    saved: ClassVar[tuple[str, ...]] = ("W_enc", "b_gate", "r_mag", "b_mag", "W_dec", "b_dec")
    offsets: ClassVar[tuple[str, ...]] = ("b_gate", "b_mag")

    def __init__(self, recipes: Sequence[Penalised], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.b_gate, self.b_mag = nn.Parameter(weights.b_enc), nn.Parameter(weights.b_enc.clone())
        self.r_mag = nn.Parameter(weights.b_enc.clone())

    @abstractmethod
    def activity(self, pi: Float[Tensor, "... position feature"]) -> Float[Tensor, "..."]:
        """What is penalised of relu(pi): a mean over positions, one value a member."""

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        return self._features(self.seen(x))

    def _features(self, c: Tensor) -> Tensor:
        grow, b_mag, b_gate = (
            row[..., None, :].to(c.dtype) for row in (self.r_mag.exp(), self.b_mag, self.b_gate)
        )
        return (c * grow + b_mag).relu() * (c + b_gate > 0)

    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],  # noqa: ARG002
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        c = self.seen(x)
        features = self._features(c)
        error = squared_error(self.rebuilt(x, features), y)
        pi = (c + self.b_gate[..., None, :].to(c.dtype)).relu()
        alone = pi @ self.W_dec.detach() + self.b_dec.detach()[..., None, :]
        if self.W_skip is not None:
            alone = alone + x @ self.W_skip.detach().mT
        penalty = self.weight() * self.activity(pi)
        return Loss(error, penalty, squared_error(alone, y)), features

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        if self.recipe.sparsity_target is not None:
            c = self.centred(x) @ self.W_enc
            # A feature whose size is 0 is off whatever its gate says.
            on = c * self.r_mag.exp() + self.b_mag > 0
            pi = (c + self.b_gate).masked_fill(~on, float("-inf"))
            self.b_gate.sub_(cut(pi, self.recipe.sparsity_target * len(x)))


class GatedSAE(Gate):
    """See the head of this file."""

    architecture: ClassVar[str] = "gated"
    separable: bool = True

    def activity(self, pi: Float[Tensor, "... position feature"]) -> Float[Tensor, "..."]:
        return activity(pi, pi.shape[-2])
