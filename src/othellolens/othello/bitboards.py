"""The rules of Othello on whole batches of bitboards.

A bitboard is a `uint64` whose bit `s` is square `s`; every function takes and returns numpy arrays
of any one shape. The loops are in `kernels.py`; `tests/reference` holds their slow twins.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from .workers import shared_out

Bits: TypeAlias = NDArray[np.uint64]

START_BLACK = np.uint64((1 << 28) | (1 << 35))
"""d5 and e4."""
START_WHITE = np.uint64((1 << 27) | (1 << 36))
"""d4 and e5."""
_CHUNK = 1 << 16


def start() -> Bits:
    """The discs of Black, who begins, and of White."""
    return np.array([START_BLACK, START_WHITE])


def legal_moves(mine: Bits, theirs: Bits) -> Bits:
    """The squares on which the side that owns `mine` may play."""
    from . import kernels

    a, b, out = _flat(mine), _flat(theirs), np.empty(mine.size, np.uint64)
    shared_out(lambda i, j: kernels.legal_moves(a[i:j], b[i:j], out[i:j]), len(out), _CHUNK)
    return out.reshape(mine.shape)


def flipped_by(move: Bits, mine: Bits, theirs: Bits) -> Bits:
    """The discs of `theirs` that a disc of mine put on `move` (one bit, or none) turns over."""
    from . import kernels

    x, a, b, out = _flat(move), _flat(mine), _flat(theirs), np.empty(mine.size, np.uint64)
    shared_out(lambda i, j: kernels.flipped_by(x[i:j], a[i:j], b[i:j], out[i:j]), len(out), _CHUNK)
    return out.reshape(mine.shape)


def labels(mine: Bits, theirs: Bits) -> NDArray[np.int8]:
    """One more axis of 64, square by square: 0 mine, 1 theirs, 2 empty."""
    from . import kernels

    a, b, out = _flat(mine), _flat(theirs), np.empty((mine.size, 64), np.int8)
    shared_out(lambda i, j: kernels.labels(a[i:j], b[i:j], out[i:j]), len(out), _CHUNK)
    return out.reshape(*mine.shape, 64)


def count(bits: Bits) -> NDArray[np.uint8]:
    """How many squares are set."""
    return np.bitwise_count(bits)


def unpack(bits: Bits) -> NDArray[np.bool_]:
    """One more axis of 64, square by square."""
    octets = np.ascontiguousarray(bits).astype("<u8", copy=False)[..., None].view(np.uint8)
    spelled = np.unpackbits(octets, axis=-1, bitorder="little").view(np.bool_)
    return spelled.reshape(*bits.shape, 64)


def perft(depth: int) -> int:
    """Number of move sequences of `depth` plies from the start; a pass counts as a ply."""
    return perft_of(START_BLACK, START_WHITE, depth)


def perft_of(mine: np.uint64, theirs: np.uint64, depth: int) -> int:
    """The same from any position; a finished game counts once, however deep the count goes."""
    from . import kernels

    return int(kernels.perft(mine, theirs, depth)) if depth else 1


def _flat(bits: Bits) -> Bits:
    return np.ascontiguousarray(bits).reshape(-1)
