"""Random play and replay on numpy arrays, one operation of numpy a step: nothing is compiled.

Some 30 times slower than the kernels and 500 times faster than lists, so that a hundred thousand
games can be compared in a test.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

MAX_PLIES, NO_MOVE = 60, -1

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


_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)


def _mix(x: Bits) -> Bits:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014): a counter into random bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))


def play(numbers: Bits, seed: int) -> NDArray[np.int8]:
    mine = np.full(len(numbers), START_BLACK)
    theirs = np.full(len(numbers), START_WHITE)
    moves = np.full((len(numbers), MAX_PLIES), NO_MOVE, dtype=np.int8)
    key = _mix(np.full(1, seed & 0xFFFF_FFFF_FFFF_FFFF, dtype=np.uint64))
    stream = _mix(key + numbers * _GOLDEN)
    steps = np.arange(MAX_PLIES, dtype=np.uint64) * _GOLDEN
    for ply in range(MAX_PLIES):
        legal, mine, theirs = _pass_if_stuck(mine, theirs)
        alive = legal != 0
        if not alive.any():
            break
        draw = _mix(stream + steps[ply]) >> np.uint64(32)
        rank = (draw * count(legal)) >> np.uint64(32)
        square = pick(legal, rank)
        # Where nothing is legal the move is no bit at all, and nothing changes but the names.
        move = np.where(alive, np.uint64(1) << (square & np.uint64(63)), np.uint64(0))
        moves[:, ply] = np.where(alive, square.astype(np.int8), NO_MOVE)
        mine, theirs = _after(move, mine, theirs)
    return moves


def _after(move: Bits, mine: Bits, theirs: Bits) -> tuple[Bits, Bits]:
    """The board after a move, seen by the opponent of the mover."""
    flips = flipped_by(move, mine, theirs)
    return theirs ^ flips, mine | move | flips


def _pass_if_stuck(mine: Bits, theirs: Bits) -> tuple[Bits, Bits, Bits]:
    """Legal moves and the board, seen by the side that really moves; a finished game stays."""
    legal = legal_moves(mine, theirs)
    stuck = legal == 0
    if not stuck.any():
        return legal, mine, theirs
    replies = np.zeros_like(legal)
    replies[stuck] = legal_moves(theirs[stuck], mine[stuck])
    swap = stuck & (replies != 0)
    return (
        np.where(swap, replies, legal),
        np.where(swap, theirs, mine),
        np.where(swap, mine, theirs),
    )


def replay(moves: NDArray[np.int8]) -> tuple[Bits, Bits, Bits, NDArray[np.bool_]]:
    count, plies = moves.shape
    mine, theirs = np.full(count, START_BLACK), np.full(count, START_WHITE)
    black = np.ones(count, dtype=np.bool_)
    legal = legal_moves(mine, theirs)
    out_mine, out_theirs, out_legal = (np.zeros((count, plies), dtype=np.uint64) for _ in range(3))
    out_black = np.zeros((count, plies), dtype=np.bool_)
    for ply in range(plies):
        square = moves[:, ply]
        played = square != NO_MOVE
        move = np.where(played, np.uint64(1) << (square.astype(np.uint64) & np.uint64(63)), 0)
        next_mine, next_theirs = _after(move, mine, theirs)
        legal, seen_mine, seen_theirs = _pass_if_stuck(next_mine, next_theirs)
        passed = seen_mine != next_mine
        black = np.where(played, black == passed, black)
        mine, theirs = seen_mine, seen_theirs
        out_mine[:, ply] = np.where(played, mine, 0)
        out_theirs[:, ply] = np.where(played, theirs, 0)
        out_legal[:, ply] = np.where(played, legal, 0)
        out_black[:, ply] = black & played
    return out_mine, out_theirs, out_legal, out_black
