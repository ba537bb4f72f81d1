"""Tally: what is counted of every feature in the first pass over the games."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import InputError
from ..lens import Read

_OCTAVES = 16
"""Activations from 2^-16 to 2^16 have bins of their own; smaller and larger ones share the last."""
_STEPS = 32
"""Bins an octave: the median is known to about 1 %."""


@dataclass(frozen=True)
class Tally:
    """Sums over positions. A feature is on where its activation exceeds 0."""

    positions: int
    fires: Int64[Tensor, " feature"]
    """Positions at which the feature is on."""
    total: Float[Tensor, " feature"]
    """Sum of its activations there."""
    highest: Float[Tensor, " feature"]
    """Its largest activation; 0 where it is never on."""
    boards: Int64[Tensor, "feature 3 64"]
    """How often each square was mine, theirs, empty while the feature was on."""
    overall: Int64[Tensor, "3 64"]
    """The same over all positions."""
    levels: Int64[Tensor, "feature level"]
    """How many activations fell in each bin of a logarithmic scale."""

    def mean(self) -> Float[Tensor, " feature"]:
        """Mean activation when on; 0 where the feature is never on."""
        return self.total / self.fires.clamp(min=1)

    def median(self) -> Float[Tensor, " feature"]:
        """Median activation when on, to about 1 %; 0 where the feature is never on."""
        reached = self.levels.cumsum(1) * 2 >= self.fires[:, None]
        level = reached.int().argmax(1)
        middle = torch.exp2((level + 0.5) / _STEPS - _OCTAVES)
        return torch.where(self.fires > 0, torch.minimum(middle, self.highest), 0.0)


def activations(read: Read) -> Float[Tensor, "position feature"]:
    """The features of some positions on the CPU, 0 where they are off."""
    return read.features.float().cpu().relu()


def tally(reads: Iterable[Read], features: int) -> Tally:
    """Count one pass.

    Args:
        reads: what a lens sees of the games.
        features: how many features it ought to have.

    Raises:
        InputError: there are no positions, or the lens has another number of features.
    """
    sums: Tally | None = None
    for read in reads:
        part = _tally(read, features)
        sums = part if sums is None else _add(sums, part)
    if sums is None or not sums.positions:
        raise InputError("there are no positions to show: pass games that have moves")
    return sums


def _tally(read: Read, features: int) -> Tally:
    x = activations(read)
    if x.shape[1] != features:
        raise InputError(
            f"the scores are of {features} features, but the encoder has {x.shape[1]}:"
            " pass the scores of this lens"
        )
    on = x > 0
    squares = read.boards.squares()
    # Sums of 0 and 1 in float32: exact up to 2^24 positions a batch.
    boards = on.float().T @ squares.flatten(1).float()
    return Tally(
        len(x),
        on.sum(0),
        x.double().sum(0),
        x.amax(0) if len(x) else x.new_zeros(features),
        boards.unflatten(1, (3, 64)).long(),
        squares.sum(0),
        _levels(x, on),
    )


def _levels(x: Tensor, on: Tensor) -> Int64[Tensor, "feature level"]:
    size = 2 * _OCTAVES * _STEPS
    level = ((x[on].log2() + _OCTAVES) * _STEPS).long().clamp(0, size - 1)
    feature = on.nonzero()[:, 1]
    return torch.bincount(feature * size + level, minlength=x.shape[1] * size).view(-1, size)


def _add(a: Tally, b: Tally) -> Tally:
    return Tally(
        a.positions + b.positions,
        a.fires + b.fires,
        a.total + b.total,
        torch.maximum(a.highest, b.highest),
        a.boards + b.boards,
        a.overall + b.overall,
        a.levels + b.levels,
    )
