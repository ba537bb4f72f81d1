"""p-annealing (Karvonen et al. 2024, https://arxiv.org/abs/2408.00113, section 5).

A ReLU SAE whose penalty is the sum of f^p. p is 1 at first, then falls linearly to `p_end`, so that
the penalty comes nearer to a count. Whenever p changes, the penalty's weight changes too, such that
the penalty itself goes on where it was.
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

_CHANGES = 64
# How often p changes in a training.
_LEAST = 1e-6
# Under the power: the slope of f^p at 0 has no end.


@dataclass(frozen=True)
class PAnneal(Penalised):
    """ReLU with an Lp penalty, p falling from 1."""

    penalty: float = 2.0
    p_end: float = 0.2
    """p at the end (0.2 in the published Othello SAEs)."""
    anneal_from: float = 0.05
    """Share of the training after which p begins to fall."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_anneal(self.p_end, self.anneal_from)

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "PAnnealSAE":
        return PAnnealSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))

    def static(self) -> dict[str, object]:
        return {**super().static(), "p_end": self.p_end, "anneal_from": self.anneal_from}


class PAnnealSAE(SparseAutoencoder):
    """See the head of this file."""

    architecture: ClassVar[str] = "p_anneal"
    uncompiled: ClassVar[tuple[str, ...]] = ("power",)
    saved_as: ClassVar[str] = "standard"
    thins: ClassVar[bool] = True
    resampled: ClassVar[bool] = True

    def __init__(self, recipes: Sequence[PAnneal], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.b_enc = nn.Parameter(weights.b_enc)
        self.power = Power(recipes[0].p_end, recipes[0].anneal_from, self.strength)

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
        penalty = self.weight() * self.power(found.values.float(), self.progress, len(x))
        return Loss(error, penalty, torch.zeros_like(error)), found.features

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        if self.recipe.sparsity_target is not None:
            z = self.pre_activations(x)
            self.b_enc.sub_(cut(z, self.recipe.sparsity_target * len(x)))


class Power(nn.Module):
    """The sum of f^p, mean over positions, times what keeps it steady as p falls."""

    p: Tensor
    scale: Tensor

    def __init__(self, p_end: float, anneal_from: float, like: Tensor) -> None:
        super().__init__()
        self.p_end, self.anneal_from = p_end, anneal_from
        self.register_buffer("p", torch.ones(()))
        self.register_buffer("scale", torch.ones_like(like))

    def forward(self, values: Tensor, progress: float, positions: int) -> Float[Tensor, "..."]:
        """The penalty of a batch, one value a member.

        Args:
            values: features, or those that are on alone; see `activity`.
            progress: share of the training that is done.
            positions: how many the batch has.
        """
        if self.training:
            self._fall(values.detach(), progress, positions)
        return self.scale * _summed(values, float(self.p), positions)

    def _fall(self, values: Tensor, progress: float, positions: int) -> None:
        position = max(0.0, progress - self.anneal_from) / (1 - self.anneal_from)
        p = 1 + (self.p_end - 1) * int(_CHANGES * min(1.0, position)) / _CHANGES
        if p < float(self.p):
            before, after = (_summed(values, q, positions) for q in (float(self.p), p))
            self.scale.mul_(torch.where(after > 0, before / after.clamp(min=1e-12), 1.0))
            self.p.fill_(p)


def _summed(values: Tensor, p: float, positions: int) -> Tensor:
    if p != 1:
        values = (values + _LEAST).pow(p) * (values > 0)
    return activity(values, positions)


def check_anneal(p_end: float, anneal_from: float) -> None:
    """Refuse what cannot be annealed.

    Raises:
        InputError: naming the number.
    """
    if not 0 < p_end <= 1:
        raise InputError(f"p_end is {p_end:g}: it must be above 0 and at most 1")
    if not 0 <= anneal_from < 1:
        raise InputError(f"anneal_from is {anneal_from:g}: it is a share of the training, below 1")
