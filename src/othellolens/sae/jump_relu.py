"""JumpReLU SAE (Rajamanoharan et al. 2024, https://arxiv.org/abs/2407.14435).

z = (x - b_dec) W_enc + b_enc; f = z where z > theta, else 0, with a theta of its own a feature,
learned through a made-up slope: a rectangle of width `bandwidth` around theta (eq. 11 and 12).
Loss = mean |x^ - x|^2 + sparsity + a push for dead features, in one of three forms of sparsity:

* `step`: penalty * the number of active features (the paper's).
* `tanh`: penalty * the sum of tanh(4 f) (Conerly et al. 2025, Anthropic's January update).
* `target`: penalty * (L0 / l0 - 1)^2, L0 the mean number of active features of the batch (paper's
  appendix; Gemma Scope).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..errors import InputError
from .autoencoder import Loss, Penalised, SparseAutoencoder, Weights, fresh, squared_error
from .selection import cut

_STEEP = 4.0


@dataclass(frozen=True)
class JumpRelu(Penalised):
    """A learned threshold a feature, and a penalty on their number."""

    penalty: float = 1.0
    form: Literal["step", "tanh", "target"] = "step"
    """What is penalised; see the head of `sae.jump_relu`."""
    bandwidth: float = 1.0
    """Width of the rectangle that stands for the slope of the step."""
    threshold: float = 1.0
    """What every theta begins with."""
    push: float = 1e-2
    """Weight of what lifts dead features: the sum of theta - z over them where z < theta."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.bandwidth < inf and 0 <= self.threshold < inf and 0 <= self.push < inf):
            raise InputError(
                "bandwidth must be above 0, threshold and push not below, and none without end:"
                f" got {self.bandwidth:g}, {self.threshold:g}, {self.push:g}"
            )
        if self.form == "target" and self.l0 is None:
            raise InputError("form target needs l0, the mean number of active features to reach")

    @property
    def steered(self) -> bool:
        return self.l0 is not None and self.form != "target"

    def build(
        self, d_in: int, *, d_out: int | None = None, skip: bool = False, seed: int = 0
    ) -> "JumpReluSAE":
        return JumpReluSAE([self], fresh(self.width, d_in, d_out=d_out, skip=skip, seed=seed))

    def static(self) -> dict[str, object]:
        return {**super().static(), "form": self.form, "bandwidth": self.bandwidth}


class JumpReluSAE(SparseAutoencoder):
    """See the head of this file. `threshold` [feature] is theta."""

    architecture: ClassVar[str] = "jumprelu"
    saved_as: ClassVar[str] = "jumprelu"
    saved: ClassVar[tuple[str, ...]] = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    offsets: ClassVar[tuple[str, ...]] = ("b_enc", "threshold")

    def __init__(self, recipes: Sequence[JumpRelu], weights: Weights) -> None:
        super().__init__(recipes, weights)
        self.form, self.bandwidth = recipes[0].form, recipes[0].bandwidth
        self.separable = self.form != "target"
        self.b_enc = nn.Parameter(weights.b_enc)
        start = torch.full_like(weights.b_enc, recipes[0].threshold)
        self.threshold = nn.Parameter(start)

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
        with torch.no_grad():
            self.threshold.clamp_(min=0)
        z = self.pre_activations(x).float()
        features: Any = _Jump.apply(z, self.threshold, self.bandwidth)
        error = squared_error(self.rebuilt(x, features), y)
        short = (self.threshold[..., None, :] - z).relu() * dead[..., None, :]
        push = self.each("push") * short.sum(-1).mean(-1)
        return Loss(error, self.weight() * self._sparsity(z, features), push), features

    def _sparsity(self, z: Tensor, features: Tensor) -> Tensor:
        if self.form == "tanh":
            return torch.tanh(_STEEP * features).sum(-1).mean(-1)
        on: Any = _Step.apply(z, self.threshold, self.bandwidth)
        number = on.sum(-1).mean(-1)
        return number if self.form == "step" else (number / self.each("l0") - 1).pow(2)

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "position d_in"]) -> None:
        self.threshold.clamp_(min=0)
        if self.recipe.sparsity_target is not None:
            z = self.pre_activations(x)
            margin = (z - self.threshold).masked_fill(z <= 0, float("-inf"))
            self.threshold.add_(cut(margin, self.recipe.sparsity_target * len(x))).clamp_(min=0)


class _Jump(torch.autograd.Function):
    """z where z > theta; df/dtheta = -(theta / bandwidth) where z is near theta (eq. 11)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z.relu() * (z > threshold[..., None, :])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        z, threshold = ctx.saved_tensors
        near = _near(z, threshold, ctx.bandwidth)
        slope = -(threshold / ctx.bandwidth) * (grads[0] * near).sum(-2)
        return grads[0] * ((z > threshold[..., None, :]) & (z > 0)), slope, None


class _Step(torch.autograd.Function):
    """1 where z > theta; its slope in theta is -1 / bandwidth where z is near theta (eq. 12)."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold[..., None, :]).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, None]:
        z, threshold = ctx.saved_tensors
        near = _near(z, threshold, ctx.bandwidth)
        return None, -(grads[0] * near).sum(-2) / ctx.bandwidth, None


def _near(z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    return (z - threshold[..., None, :]).abs() < bandwidth / 2
