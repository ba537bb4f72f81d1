"""The MLP probe: one hidden layer shared by all squares (Li et al. 2022, section 3.2).

p = softmax over mine, theirs, empty of ReLU(scale (x - mean) W_in + b_in) W_out + b_out.
Li et al. take a hidden layer of 128 and absolute colours; ours are mine and theirs.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .board import BoardProbe

HIDDEN = 128


class MLPProbe(BoardProbe):
    """W_in [d_in, hidden], b_in, W_out [hidden, 3, 64], b_out [3, 64], mean, scale."""

    kind = "mlp-probe"

    def __init__(self, d_in: int, hidden: int = HIDDEN, *, seed: int = 0) -> None:
        super().__init__(d_in)
        self.hidden = hidden
        drawn = torch.Generator().manual_seed(seed)
        self.W_in = nn.Parameter(torch.randn(d_in, hidden, generator=drawn) * (2 / d_in) ** 0.5)
        self.b_in = nn.Parameter(torch.zeros(hidden))
        out = torch.randn(hidden, 3, 64, generator=drawn)
        self.W_out = nn.Parameter(out * hidden**-0.5)
        self.b_out = nn.Parameter(torch.zeros(3, 64))

    def logits(self, x: Float[Tensor, "position d_in"]) -> Float[Tensor, "position 3 64"]:
        hidden = (self.standardised(x) @ self.W_in + self.b_in).relu()
        return (hidden @ self.W_out.flatten(1)).unflatten(1, (3, 64)) + self.b_out

    def shape(self) -> dict[str, Any]:
        return {**super().shape(), "hidden": self.hidden}
