"""The first guess of a linear probe: least squares on labels as numbers, in closed form."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from .facts import FactProbe
from .linear import LinearProbe

_RIDGE = 1e-3
"""Share of the mean variance of an axis that is added to each."""
_GAINS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0)
"""Logits per unit of probability; the one with the least loss on the next batch is taken."""


class LeastSquares:
    """Sums from which the least-squares weights of y on x follow; exact however they are added."""

    def __init__(self) -> None:
        self.rows = 0
        self._x: Tensor | float = 0.0
        self._y: Tensor | float = 0.0
        self._xx: Tensor | float = 0.0
        self._xy: Tensor | float = 0.0

    def add(self, x: Float[Tensor, "position d_in"], y: Float[Tensor, "position out"]) -> None:
        """Take more rows into account."""
        self.rows += len(x)
        self._x = self._x + x.sum(0).double()
        self._y = self._y + y.sum(0).double()
        self._xx = self._xx + (x.T @ x).double()
        self._xy = self._xy + (x.T @ y).double()

    def solve(self) -> tuple[Float[Tensor, "d_in out"], Float[Tensor, " out"]]:
        """Weights and biases of y = x W + b with a small ridge."""
        mean_x, mean_y = (torch.as_tensor(total) / self.rows for total in (self._x, self._y))
        xx = torch.as_tensor(self._xx) / self.rows - mean_x[:, None] * mean_x
        xy = torch.as_tensor(self._xy) / self.rows - mean_x[:, None] * mean_y
        ridge = _RIDGE * xx.diagonal().mean().clamp(min=1e-12)
        weight = torch.linalg.solve(xx + ridge * torch.eye(len(xx)).to(xx), xy)
        return weight.float(), (mean_y - mean_x @ weight).float()


@torch.no_grad()
def begin(
    probe: LinearProbe | FactProbe,
    squares: LeastSquares,
    x: Float[Tensor, "position d_in"],
    truth: Int64[Tensor, "position fact"],
) -> None:
    """Set a probe's weights to what least squares gives, its output taken for a probability.

    Args:
        probe: whose weights to set.
        squares: of its standardised inputs.
        x: the next batch, on which the steepness is chosen.
        truth: its labels.
    """
    weight, bias = squares.solve()
    even = 1 / 2 if isinstance(probe, FactProbe) else 1 / 3

    def put(gain: float) -> float:
        probe.W.copy_(gain * weight.view_as(probe.W))
        probe.b.copy_(gain * (bias.view_as(probe.b) - even))
        return float(probe.loss(probe.logits(x), truth))

    put(min(_GAINS, key=put))
