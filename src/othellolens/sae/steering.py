"""Steering: moving the weight of a sparsity penalty until as many features are on as are asked for.

A proportional-integral controller on logarithms: with e = log(L0 / target) of a batch, each step
multiplies the weight by exp(integral * e + proportional * (e - e of the step before)).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .autoencoder import Penalised, SparseAutoencoder

_INTEGRAL = 20.0
# Over a whole training: an error of 1 throughout would multiply the weight by exp of this.
_PROPORTIONAL = 0.3
_FROM = 0.1
# Share of the training after which the weight is moved: until then it still rises (WARMUP).


class Steering:
    """Of the members of a stack for which a number of features is asked for."""

    def __init__(self, sae: SparseAutoencoder, steps: int) -> None:
        self.steps = steps
        wanted = [_target(recipe) for recipe in sae.recipes]
        targets = torch.tensor(wanted, device=sae.W_dec.device)
        self.targets = targets if sae.members is not None else targets[0]
        self.last = torch.zeros_like(self.targets)

    @torch.no_grad()
    def move(self, sae: SparseAutoencoder, l0: Float[Tensor, "..."]) -> None:
        """After a step in which a mean of `l0` features was on."""
        if sae.progress < _FROM:
            return
        error = (l0 / self.targets).clamp(1e-2, 1e2).log().clamp(-2, 2)
        error = torch.where(self.targets > 0, error, 0.0)
        push = _INTEGRAL / self.steps * error + _PROPORTIONAL * (error - self.last)
        sae.strength.mul_(push.clamp(-0.5, 0.5).exp())
        self.last = error


def _target(recipe: object) -> float:
    """The number that is asked for; 0 where none is."""
    steered = isinstance(recipe, Penalised) and recipe.steered
    return float(recipe.l0 or 0) if steered else 0.0  # pyright: ignore
