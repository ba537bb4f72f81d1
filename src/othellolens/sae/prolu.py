"""ProLU SAE (Taggart 2024, https://www.alignmentforum.org/posts/HEpufTdakGTTKgoYF).

m = (x - b_dec) W_enc; f = m where m > 0 and m + b > 0, else 0: the bias decides whether a feature
is on, but not how much. What is saved and shown is theta = max(0, -b): f = m where m > theta, and
b_enc is 0. Loss = mean |x^ - x|^2 + penalty * sum of f.

The step has no slope in b, so one is made up: `ste` from the straight-through estimator of the step
(df/dm = 1 + m, df/db = m where f is on), `relu` that of a ReLU (df/dm = df/db = 1 where f is on).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

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
class ProLU(Penalised):
    """ProLU with an L1 penalty."""

    penalty: float = 2.0
    slope: Literal["ste", "relu"] = "relu"
    """Which slope is made up for the step."""

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "ProLUSAE":
        return ProLUSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))

    def static(self) -> dict[str, object]:
        return {**super().static(), "slope": self.slope}


class ProLUSAE(SparseAutoencoder):
    """See the head of this file. `threshold` [feature] is theta."""

    architecture: ClassVar[str] = "prolu"
    saved_as: ClassVar[str] = "jumprelu"
    resampled: ClassVar[bool] = True
    separable: bool = True
    saved: ClassVar[tuple[str, ...]] = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    offsets: ClassVar[tuple[str, ...]] = ("threshold",)
    b_enc: Tensor

    def __init__(self, recipes: Sequence[ProLU], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.slope = recipes[0].slope
        self.threshold = nn.Parameter(weights.b_enc)
        self.register_buffer("b_enc", weights.b_enc)

    def encode(
        self, x: Float[Tensor, "... position d_in"]
    ) -> Float[Tensor, "... position feature"]:
        m = self.centred(x) @ self.W_enc
        return m.relu() * (m > self.threshold[..., None, :])

    def loss(
        self,
        x: Float[Tensor, "... position d_in"],
        y: Float[Tensor, "... position d_out"],
        dead: Bool[Tensor, "... feature"],  # noqa: ARG002
    ) -> tuple[Loss, Float[Tensor, "... position feature"]]:
        with torch.no_grad():
            # A positive bias does what none does; held at 0, it can come back.
            self.threshold.clamp_(min=0)
        features = _prolu(self.seen(x), self.threshold, self.slope)
        error = squared_error(self.rebuilt(x, features), y)
        penalty = self.weight() * activity(features, len(x))
        return Loss(error, penalty, torch.zeros_like(error)), features

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        self.threshold.clamp_(min=0)
        if self.recipe.sparsity_target is not None:
            m = self.centred(x) @ self.W_enc
            margin = (m - self.threshold).masked_fill(m <= 0, float("-inf"))
            self.threshold.add_(cut(margin, self.recipe.sparsity_target * len(x))).clamp_(min=0)


def _prolu(m: Tensor, threshold: Tensor, slope: str) -> Tensor:
    made: Any = _ProLU.apply(m, threshold, slope == "ste")
    return made


class _ProLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, m: Tensor, threshold: Tensor, ste: bool) -> Tensor:
        on = (m > threshold[..., None, :]) & (m > 0)
        ctx.save_for_backward(m, on)
        ctx.ste = ste
        return m * on

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        m, on = ctx.saved_tensors
        through = grads[0] * on
        made_up = through * m if ctx.ste else through
        return (through + made_up if ctx.ste else through), -made_up.sum(-2), None
