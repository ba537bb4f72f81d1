"""Which rows of a table are equal. Hashes find them, and a comparison decides: always exact."""

import numpy as np
from jaxtyping import Int8
from numpy.typing import NDArray
from torch import Tensor

from .bitboards import Bits

_ODD = np.uint64(0x9E37_79B9_7F4A_7C15)


def words(moves: Int8[Tensor, "game ply"]) -> Bits:
    """Move lists as [game, ceil(ply / 8)] words whose order, left to right, is that of the lists.

    The end of a game sorts before every square, so a game that is cut short comes just before the
    games that go on from there.
    """
    count, plies = moves.shape
    octets = np.zeros((count, -(-plies // 8) * 8), dtype=np.uint8)
    octets[:, :plies] = moves.numpy().view(np.uint8) + np.uint8(1)
    return octets.view(">u8").astype(np.uint64)


def first_equal(rows: Bits) -> NDArray[np.int64]:
    """For each row of a table [row, word] the number of the first row that equals it.

    Memory: about 50 bytes a row besides the table.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    order, begins = _sorted_by_hash(rows)
    starts = np.flatnonzero(begins)
    first = np.minimum.reduceat(order, starts)
    found = np.empty(len(rows), dtype=np.int64)
    found[order] = np.repeat(first, np.diff(starts, append=len(rows)))
    return found


def in_order(rows: Bits) -> NDArray[np.int64]:
    """The order that sorts a table [row, word] by its words from left to right; ties stay."""
    return np.lexsort(rows.T[::-1]) if rows.shape[1] else np.arange(len(rows))


def _sorted_by_hash(rows: Bits) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """An order in which equal rows stand together, and where in it each new row begins."""
    hashes = _hash(rows)
    order = np.argsort(hashes)
    begins = np.ones(len(rows), dtype=np.bool_)
    begins[1:] = hashes[order[1:]] != hashes[order[:-1]]
    near = np.flatnonzero(~begins)
    if not _equal(rows, order[near], order[near - 1]).all():
        # Two rows of one hash may stand mixed: this once, sort by what they are.
        order = in_order(rows)
        begins[1:] = ~_equal(rows, order[1:], order[:-1])
    return order, begins


def _equal(rows: Bits, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    same = np.ones(len(a), dtype=np.bool_)
    for column in rows.T:
        same &= column[a] == column[b]
    return same


def _hash(rows: Bits) -> Bits:
    """64 bits a row, well mixed; rows that differ may still meet."""
    mixed = np.zeros(len(rows), dtype=np.uint64)
    for column in rows.T:
        mixed = (mixed ^ column) * _ODD
        mixed ^= mixed >> np.uint64(32)
    return mixed
