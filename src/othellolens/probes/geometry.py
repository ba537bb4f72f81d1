"""Geometry of a probe: how its directions lie to one another.

Nanda et al. 2023, section 4: directions of different squares are nearly orthogonal, "mine" and
"theirs" nearly opposite, and a probe for colours turns around between odd and even plies.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .linear import LinearProbe


def cosines(
    one: Float[Tensor, "row d_in"], other: Float[Tensor, "column d_in"]
) -> Float[Tensor, "row column"]:
    """The cosine of each direction with each; 0 where one of them is 0."""
    return _unit(one) @ _unit(other).T


def paired(
    one: Float[Tensor, "square d_in"], other: Float[Tensor, "square d_in"]
) -> Float[Tensor, " square"]:
    """The cosine of the two directions of each square."""
    return (_unit(one) * _unit(other)).sum(1)


@dataclass(frozen=True)
class Spectrum:
    """Singular value decomposition of a set of directions, unit length each."""

    values: Float[Tensor, " rank"]
    """Singular values, largest first."""
    boards: Float[Tensor, "rank square"]
    """What each principal axis has of each square: a board each."""

    def dimensions(self, share: float = 0.9) -> int:
        """Axes that hold this share of the squared length."""
        held = self.values.double().pow(2).cumsum(0) / self.values.double().pow(2).sum()
        return int((held < share - 1e-12).sum()) + 1


def spectrum(directions: Float[Tensor, "square d_in"], *, centred: bool = False) -> Spectrum:
    """The singular values of directions, and the axes as boards.

    Args:
        directions: one a square, made unit length first.
        centred: take their mean off (principal component analysis of the squares).
    """
    unit = _unit(directions)
    unit = unit - unit.mean(0) if centred else unit
    left, values, _ = torch.linalg.svd(unit, full_matrices=False)
    return Spectrum(values, left.T)


@dataclass(frozen=True)
class Geometry:
    """What is usually said of a board probe, in numbers."""

    mine_theirs: float
    """Mean cosine over squares of "mine" (above the mean of theirs and empty) and "theirs"."""
    colour_empty: float
    """Mean cosine of mine-less-theirs and empty."""
    between_squares: float
    """Mean absolute cosine of the mine-less-theirs directions of two squares."""
    most: float
    """The largest of them."""
    dimensions: int
    """Axes with 90 % of the squared length of the 64 mine-less-theirs directions."""


def geometry(probe: LinearProbe) -> Geometry:
    """Summarise a linear probe; `cosines`, `paired` and `spectrum` give the whole."""
    mine, theirs, empty = (probe.directions(name) for name in ("mine", "theirs", "empty"))
    colour = probe.directions("colour")
    apart = cosines(colour, colour)[~torch.eye(64, dtype=torch.bool)].abs()
    return Geometry(
        float(paired(mine, theirs).mean()),
        float(paired(colour, empty).mean()),
        float(apart.mean()),
        float(apart.max()),
        spectrum(colour).dimensions(),
    )


def _unit(x: Float[Tensor, "row d_in"]) -> Float[Tensor, "row d_in"]:
    return x / x.norm(dim=1, keepdim=True).clamp(min=1e-12)
