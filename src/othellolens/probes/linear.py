"""The linear probe (Nanda et al. 2023, https://arxiv.org/abs/2309.00941).

p = softmax over mine, theirs, empty of scale (x - mean) W[:, :, square] + b[:, square].
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from .board import CLASSES, BoardProbe


class LinearProbe(BoardProbe):
    """W [d_in, 3, 64], b [3, 64], mean [d_in], scale []; the classes are mine, theirs, empty."""

    kind = "linear-probe"

    def __init__(self, d_in: int) -> None:
        super().__init__(d_in)
        self.W = nn.Parameter(torch.zeros(d_in, 3, 64))
        self.b = nn.Parameter(torch.zeros(3, 64))

    def logits(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position 3 64"]:
        return (self.standardised(x) @ self.W.flatten(1)).unflatten(1, (3, 64)) + self.b

    def one_hot(self, truth: Int64[Tensor, "position 64"]) -> Float[Tensor, "position out"]:
        """Labels as numbers: 1 for the class that holds and 0 for the others, in the order of W."""
        return F.one_hot(truth, 3).transpose(1, 2).flatten(1).to(self.W)

    def directions(self, name: str) -> Float[Tensor, "64 d_in"]:
        """What raises one class of each square above the mean of the others, in units of x.

        The gradient of logit - mean of the other two logits. "colour" is mine less theirs.
        """
        weight = (self.W * self.scale).detach()
        if name == "colour":
            return (weight[:, 0] - weight[:, 1]).T
        chosen = CLASSES.index(name)
        rest = [c for c in range(3) if c != chosen]
        return (weight[:, chosen] - weight[:, rest].mean(1)).T
