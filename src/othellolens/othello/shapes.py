"""What the discs and the holes of a board look like: frontier, stable discs, regions of empties.

All of it for whole batches of boards. Bitboards are int64 tensors as in `Boards`. What moves do is
in `truth.py`.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int64
from numpy.typing import NDArray
from torch import Tensor

from . import bitboards
from .bitboards import Bits
from .boards import Boards, to_bits, to_tensor
from .directions import ALL, DIRECTIONS, in_chunks, moved, neighbours, spread

NO_REGION = -1
"""The label of a square that holds a disc."""
_AXES = tuple((DIRECTIONS[d], DIRECTIONS[d + 4]) for d in range(4))


class Sides(NamedTuple):
    """Some discs of either side, as bitboards [position]."""

    mine: Tensor
    theirs: Tensor


@dataclass(frozen=True)
class Regions:
    """The connected regions of empty squares."""

    label: Int8[Tensor, "position 64"]
    """The lowest square of the region that a square lies in; -1 where there is a disc."""
    size: Int8[Tensor, "position 64"]
    """How many squares that region has; 0 where there is a disc."""

    def number(self) -> Int64[Tensor, " position"]:
        """How many regions there are."""
        return (self.label == torch.arange(64)).sum(1)

    def odd(self) -> Bool[Tensor, "position 64"]:
        """The empty squares of regions with an odd number of them."""
        return self.size % 2 == 1


def frontier(boards: Boards) -> Sides:
    """The discs of either side with an empty square beside them, straight or diagonally."""
    mine, theirs = to_bits(boards.mine), to_bits(boards.theirs)
    near = neighbours(~(mine | theirs))
    return Sides(to_tensor(mine & near), to_tensor(theirs & near))


def stable(boards: Boards) -> Sides:
    """Discs of either side that can never be turned over, as far as one simple argument goes.

    A disc is stable if along each of the four lines through it the line is full, or the neighbour
    on one side is off the board or a stable disc of the same colour. This is applied until nothing
    is added. It is a sufficient condition: what it names is stable for good, but it misses some
    stable discs (a wedge in an edge that nobody can enter, say).

    Source: `get_stability` of Edax (https://github.com/abulmo/edax-reversi, src/board.c), without
    its tables of edges.
    """
    mine, theirs = to_bits(boards.mine), to_bits(boards.theirs)
    found = in_chunks(_stable, mine, theirs)
    return Sides(*(to_tensor(x) for x in found))


def regions(boards: Boards, *, diagonal: bool = True) -> Regions:
    """The connected regions of empty squares, with their sizes and so their parities.

    Memory: 128 bytes a position for the answer; in passing 64 more, and 16 an empty square.

    Args:
        boards: any positions.
        diagonal: whether squares that touch at a corner are connected (8 neighbours), as moves
            are; otherwise only those that share a side (4 neighbours).
    """
    label = np.full((len(boards), 64), NO_REGION, dtype=np.int8)
    size = np.zeros((len(boards), 64), dtype=np.int8)
    rest = ~to_bits(boards.mine | boards.theirs)
    rows = np.flatnonzero(rest)
    rest = rest[rows]
    while len(rows):
        (found,) = in_chunks(partial(_lowest_region, diagonal), rest)
        where, squares = np.nonzero(bitboards.unpack(found))
        label[rows[where], squares] = _lowest_square(found)[where]
        size[rows[where], squares] = bitboards.count(found)[where]
        rest ^= found
        rows, rest = rows[rest != 0], rest[rest != 0]
    return Regions(torch.from_numpy(label), torch.from_numpy(size))


def _stable(mine: Bits, theirs: Bits) -> tuple[Bits, Bits]:
    """Both sides; a side is grown until a round adds nothing to any board."""
    empty = ~(mine | theirs)
    safe = [_safe(empty, axis) for axis in range(4)]
    return _grown(mine, safe), _grown(theirs, safe)


def _safe(empty: Bits, axis: int) -> Bits:
    """Squares whose line on this axis is full, or that have the edge of the board beside them."""
    one, other = _AXES[axis]
    touched = spread(empty, one) | spread(empty, other)
    everything = np.full_like(empty, ALL)
    inside = moved(everything, one) & moved(everything, other)
    return ~(touched & inside)


def _grown(own: Bits, safe: list[Bits]) -> Bits:
    found = np.zeros_like(own)
    while True:
        more = own.copy()
        for (one, other), line in zip(_AXES, safe, strict=True):
            more &= line | moved(found, one) | moved(found, other)
        if (more == found).all():
            return found
        found = more


def _lowest_region(diagonal: bool, empty: Bits) -> tuple[Bits]:
    """The region of the lowest empty square of each board; every board has one."""
    region = empty & (~empty + np.uint64(1))
    while True:
        more = neighbours(region, diagonal=diagonal) & empty
        if (more == region).all():
            return (region,)
        region = more


def _lowest_square(bits: Bits) -> NDArray[np.int8]:
    return bitboards.count((bits & (~bits + np.uint64(1))) - np.uint64(1)).astype(np.int8)
