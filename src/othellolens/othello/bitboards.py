"""The rules of Othello on whole batches of bitboards.

A bitboard is a `uint64` whose bit `s` is square `s`; every function takes and returns numpy arrays
of any one shape. This is the choke point of all game speed; `tests/reference` holds its slow twin.
Fills follow https://www.chessprogramming.org/Kogge-Stone_Algorithm.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bits: TypeAlias = NDArray[np.uint64]

START_BLACK = np.uint64((1 << 28) | (1 << 35))
"""d5 and e4."""
START_WHITE = np.uint64((1 << 27) | (1 << 36))
"""d4 and e5."""

_ALL = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
_INNER = np.uint64(0x7E7E_7E7E_7E7E_7E7E)
# (step, squares through which a line may run on): the outer files stop every line that changes
# the digit, so that nothing wraps from one letter to the next.
_LINES = (
    (np.uint64(1), _INNER),
    (np.uint64(7), _INNER),
    (np.uint64(8), _ALL),
    (np.uint64(9), _INNER),
)


def _run_up(start: Bits, over: Bits, step: np.uint64) -> Bits:
    """Squares of `over` reached from `start` in steps towards higher squares, without a gap."""
    run = over & (start << step)
    run |= over & (run << step)
    pairs = over & (over << step)
    two = step + step
    run |= pairs & (run << two)
    run |= pairs & (run << two)
    return run


def _run_down(start: Bits, over: Bits, step: np.uint64) -> Bits:
    """The same towards lower squares."""
    run = over & (start >> step)
    run |= over & (run >> step)
    pairs = over & (over >> step)
    two = step + step
    run |= pairs & (run >> two)
    run |= pairs & (run >> two)
    return run


def legal_moves(mine: Bits, theirs: Bits) -> Bits:
    """The squares on which the side that owns `mine` may play."""
    moves = np.zeros_like(mine)
    for step, inner in _LINES:
        over = theirs & inner
        moves |= _run_up(mine, over, step) << step
        moves |= _run_down(mine, over, step) >> step
    return moves & ~(mine | theirs)


def flipped_by(move: Bits, mine: Bits, theirs: Bits) -> Bits:
    """The discs of `theirs` that a disc of mine put on `move` (one bit, or none) turns over."""
    flips = np.zeros_like(mine)
    for step, inner in _LINES:
        over = theirs & inner
        up = _run_up(move, over, step)
        flips |= np.where((up << step) & mine, up, np.uint64(0))
        down = _run_down(move, over, step)
        flips |= np.where((down >> step) & mine, down, np.uint64(0))
    return flips


def count(bits: Bits) -> NDArray[np.uint8]:
    """How many squares are set."""
    return np.bitwise_count(bits)


def pick(bits: Bits, rank: Bits) -> NDArray[np.uint64]:
    """The square of the `rank`-th set bit, by halving; `rank` from 0 to below `count(bits)`."""
    square = np.zeros_like(bits)
    rest = rank.copy()
    for width in (32, 16, 8, 4, 2, 1):
        low = np.bitwise_count((bits >> square) & np.uint64((1 << width) - 1)).astype(np.uint64)
        above = rest >= low
        rest -= np.where(above, low, np.uint64(0))
        square += np.where(above, np.uint64(width), np.uint64(0))
    return square


def unpack(bits: Bits) -> NDArray[np.bool_]:
    """One more axis of 64, square by square."""
    octets = np.ascontiguousarray(bits).astype("<u8", copy=False)[..., None].view(np.uint8)
    spelled = np.unpackbits(octets, axis=-1, bitorder="little").view(np.bool_)
    return spelled.reshape(*bits.shape, 64)


def perft(depth: int) -> int:
    """Number of move sequences of `depth` plies from the start; a pass counts as a ply."""
    return _perft(np.array([START_BLACK]), np.array([START_WHITE]), depth)


def _perft(mine: Bits, theirs: Bits, depth: int, chunk: int = 1 << 16) -> int:
    if depth == 0:
        return len(mine)
    if len(mine) > chunk:
        half = len(mine) // 2
        return _perft(mine[:half], theirs[:half], depth) + _perft(mine[half:], theirs[half:], depth)
    moves = legal_moves(mine, theirs)
    stuck = moves == 0
    passes = stuck & (legal_moves(theirs, mine) != 0)
    over = int((stuck & ~passes).sum())
    if depth == 1:
        return int(count(moves).sum()) + int(passes.sum()) + over
    rows, squares = np.nonzero(unpack(moves))
    move = np.uint64(1) << squares.astype(np.uint64)
    flips = flipped_by(move, mine[rows], theirs[rows])
    after_mine = np.concatenate([theirs[rows] ^ flips, theirs[passes]])
    after_theirs = np.concatenate([mine[rows] | move | flips, mine[passes]])
    # A finished game is a leaf once, however deep the count still goes.
    return over + (_perft(after_mine, after_theirs, depth - 1) if len(after_mine) else 0)
