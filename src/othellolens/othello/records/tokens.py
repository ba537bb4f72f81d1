"""Token ids of games in files: 1..60 are the playable squares in order, 0 fills up.

This is the order of `squares.PLAYABLE`. The numbering belongs to `gpt.tokens`, which lies on a
higher floor; a test holds the two together.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..games import Games
from ..squares import MAX_PLIES, NO_MOVE, PLAYABLE, name
from .record import UNREADABLE, Raw

Integers = NDArray[np.integer[Any]]

SQUARE_OF_TOKEN = np.array([NO_MOVE, *PLAYABLE], dtype=np.int8)
_NONE = 255
_TOKEN_OF_SQUARE = np.full(65, _NONE, dtype=np.uint8)
_TOKEN_OF_SQUARE[SQUARE_OF_TOKEN] = np.arange(len(SQUARE_OF_TOKEN))
_ROWS = 65_536
# Rows turned at once: a file of millions of games is never held in its own wide numbers.


def from_tokens(ids: Integers) -> Raw:
    """Games from token ids [game, ply], 0 after the end."""
    table = np.full(256, UNREADABLE, dtype=np.int8)
    table[: len(SQUARE_OF_TOKEN)] = SQUARE_OF_TOKEN
    return Raw(_looked_up(ids, table, 0), source=ids, unit="token (0..60; 0 after the end)")


def from_squares(squares: Integers) -> Raw:
    """Games from squares [game, ply], -1 after the end."""
    table = np.full(256, UNREADABLE, dtype=np.int8)
    table[:65] = [NO_MOVE, *range(64)]
    return Raw(
        _looked_up(squares, table, 1), source=squares, unit="square (0..63; -1 after the end)"
    )


def to_tokens(games: Games) -> NDArray[np.uint8]:
    """Token ids [game, ply], 0 after the end.

    Raises:
        InputError: a move to one of the four squares of the centre.
    """
    ids = _TOKEN_OF_SQUARE[games.moves.numpy()]
    if (ids == _NONE).any():
        game, ply = np.argwhere(ids == _NONE)[0].tolist()
        square = name(int(games.moves[game, ply]))
        raise InputError(f"game {game}, ply {ply}: {square} is filled at the start, no token")
    return ids


def _looked_up(numbers: Integers, table: NDArray[np.int8], shift: int) -> NDArray[np.int8]:
    """[game, 60]: `table[number + shift]`, `UNREADABLE` for what lies outside the table."""
    moves = np.full((len(numbers), MAX_PLIES), NO_MOVE, dtype=np.int8)
    for first in range(0, len(numbers), _ROWS):
        part = np.asarray(numbers[first : first + _ROWS])
        inside = (part >= -shift) & (part < len(table) - shift)
        at = np.where(inside, part.astype(np.int64), len(table) - 1 - shift) + shift
        moves[first : first + _ROWS, : part.shape[1]] = table[at]
    return moves
