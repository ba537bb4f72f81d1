"""The eight directions of the board, and steps and runs along them on batches of bitboards.

Directions are numbered clockwise as the board is drawn, letters across and digits down: 0 is up,
towards digit 1; 2 is right, towards letter h; 4 is down; 6 is left. Direction (d + 4) % 8 is the
opposite of d. In a mask of directions, bit d is direction d.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .bitboards import Bits


class Direction(NamedTuple):
    """One step on the board."""

    name: str
    letters: int
    """+1 towards h, -1 towards a."""
    digits: int
    """+1 towards 8, -1 towards 1."""

    @property
    def step(self) -> int:
        """What is added to the number of a square."""
        return 8 * self.letters + self.digits


DIRECTIONS = (
    Direction("up", 0, -1),
    Direction("up right", 1, -1),
    Direction("right", 1, 0),
    Direction("down right", 1, 1),
    Direction("down", 0, 1),
    Direction("down left", -1, 1),
    Direction("left", -1, 0),
    Direction("up left", -1, -1),
)
"""In the order of their numbers, 0 to 7."""

ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_DIGIT_1 = np.uint64(0x0101_0101_0101_0101)
_DIGIT_8 = _DIGIT_1 << np.uint64(7)
_ENTERED = {-1: ~_DIGIT_8, 0: ALL, 1: ~_DIGIT_1}
# By digits: the squares that a step can end on. What lands elsewhere ran round the edge.
_CHUNK = 4096
# Positions at once: some twenty arrays of words stay in the second-level cache.


def moved(bits: Bits, direction: Direction) -> Bits:
    """Every disc one square on; those that leave the board are gone."""
    return _shifted(bits, direction.step) & _ENTERED[direction.digits]


def spread(bits: Bits, direction: Direction) -> Bits:
    """The discs and every square that lies behind one of them in this direction."""
    open_squares = np.full_like(bits, _ENTERED[direction.digits])
    for steps in (1, 2, 4):
        bits = bits | (open_squares & _shifted(bits, steps * direction.step))
        open_squares &= _shifted(open_squares, steps * direction.step)
    return bits


def flanked(move: Bits, mine: Bits, theirs: Bits, direction: Direction) -> Bits:
    """The discs of `theirs` in this direction between `move` and the next disc of `mine`.

    Fills as in https://www.chessprogramming.org/Kogge-Stone_Algorithm.
    """
    step, over = direction.step, theirs & _ENTERED[direction.digits]
    run = over & _shifted(move, step)
    run |= over & _shifted(run, step)
    pairs = over & _shifted(over, step)
    run |= pairs & _shifted(run, 2 * step)
    run |= pairs & _shifted(run, 2 * step)
    # The last disc of the run is the only one whose next square can hold a disc of mine.
    return np.where(moved(run, direction) & mine, run, np.uint64(0))


def neighbours(bits: Bits, *, diagonal: bool = True) -> Bits:
    """The discs and the squares beside them, across corners only where `diagonal`."""
    up, down = DIRECTIONS[0], DIRECTIONS[4]
    column = bits | moved(bits, up) | moved(bits, down)
    across = column if diagonal else bits
    return column | (across << np.uint64(8)) | (across >> np.uint64(8))


def in_chunks(work: Callable[..., tuple[Bits, ...]], *columns: Bits) -> tuple[Bits, ...]:
    """`work` on slices of the columns, its results joined; for work that takes row by row."""
    total = len(columns[0])
    cuts = [slice(first, first + _CHUNK) for first in range(0, max(total, 1), _CHUNK)]
    parts = [work(*(column[cut] for column in columns)) for cut in cuts]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _shifted(bits: Bits, step: int) -> Bits:
    return bits << np.uint64(step) if step > 0 else bits >> np.uint64(-step)
