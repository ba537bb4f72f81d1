"""Arrays of games in .npy files: our own, and the published board_seqs_int and board_seqs_string.

* ours: int8 squares 0..63, -1 after the end of a game
* board_seqs_int (2023 notebooks): token ids 1..60, 0 after the end
* board_seqs_string: squares 0..63 again; "string" is the notebooks' word for them

Squares and tokens are told apart by the first moves: Black begins at square 19, 26, 37 or 44, and
these are tokens 20, 27, 34, 41. The two sets have no number in common, so that one game with a move
in it decides, if it is legal. Nothing tells a file of squares from one of 8 * row + column (its
transpose): that is as legal, move for move.

The header is read by three patterns and not evaluated; numbers are never unpickled. Format:
https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ..games import Games
from ..squares import MAX_PLIES, NO_MOVE
from .check import OPENINGS
from .record import FormName, Raw
from .tokens import SQUARE_OF_TOKEN, Integers, from_squares, from_tokens, to_tokens

MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
_MOST_HEADER = 10_000
_SAMPLE = 4096
_DTYPE = re.compile(r"'descr'\s*:\s*'([<>|=]?[iu][1248])'")
_ORDER = re.compile(r"'fortran_order'\s*:\s*(True|False)")
_SHAPE = re.compile(r"'shape'\s*:\s*\(([0-9 ,]*)\)")


def read_squares(path: Path) -> Raw:
    """Squares, -1 after the end, in integers of any width."""
    return from_squares(open_array(path))


def read_tokens(path: Path) -> Raw:
    """Token ids, 0 after the end, in integers of any width."""
    return from_tokens(open_array(path))


def which(path: Path) -> FormName:
    """Whether a file of whole numbers holds squares or tokens.

    Raises:
        InputError: the first moves say neither, or both as often.
    """
    array = open_array(path)
    first = np.asarray(array[:: max(1, len(array) // _SAMPLE), 0])
    squares = int(np.isin(first, OPENINGS).sum())
    tokens = int(np.isin(SQUARE_OF_TOKEN[np.clip(first, 0, 60).astype(np.int64)], OPENINGS).sum())
    ours: FormName = "npy" if array.dtype == np.int8 else "board_seqs_string"
    if squares != tokens or not (first != NO_MOVE).any():
        return ours if squares >= tokens else "board_seqs_int"
    if not first.any():
        return "board_seqs_int"
    raise InputError(
        f"{path}: {squares} games begin as squares do (19, 26, 37, 44), {tokens} as tokens do"
        ' (20, 27, 34, 41): say which by form="board_seqs_string" (squares) or'
        ' form="board_seqs_int" (tokens)'
    )


def open_array(path: Path) -> Integers:
    """The array [game, ply] of a file, left on disk.

    Raises:
        InputError: not whole numbers, not two axes, too many plies, truncated or too long.
    """
    with path.open("rb") as file:
        head = file.read(len(MAGIC) + 2)
        width = _LENGTH_BYTES.get(head[len(MAGIC)] if len(head) > len(MAGIC) else 0, 2)
        length = int.from_bytes(file.read(width), "little")
        header = file.read(min(length, _MOST_HEADER))
        start = file.tell()
    if not head.startswith(MAGIC) or len(header) != length:
        raise InputError(f"{path} is truncated or no array of numbers: copy it again")
    dtype, fortran, shape = _parsed(path, header.decode("latin-1"))
    there, needed = path.stat().st_size - start, math.prod(shape) * dtype.itemsize
    if there != needed:
        what = "is truncated" if there < needed else "holds more than its header says"
        raise InputError(f"{path} {what}: {there} bytes of numbers, not {needed}; copy it again")
    if needed == 0:
        return np.zeros(shape, dtype=dtype)
    return np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")


def write_npy(path: Path, games: Games) -> None:
    """Our own: int8 squares, -1 after the end; names and scores are not kept."""
    _write(path, games.moves.numpy())


def write_board_seqs_int(path: Path, games: Games) -> None:
    """Token ids int64 [game, 60], 0 after the end, as the notebooks have them."""
    _write(path, to_tokens(games).astype(np.int64))


def write_board_seqs_string(path: Path, games: Games) -> None:
    """Squares int64 [game, 60]. The published file has only full games; we mark an end with -1."""
    _write(path, games.moves.numpy().astype(np.int64))


def _write(path: Path, array: Integers) -> None:
    with path.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def _parsed(path: Path, header: str) -> tuple[np.dtype[np.integer[Any]], bool, tuple[int, ...]]:
    found = [pattern.search(header) for pattern in (_DTYPE, _ORDER, _SHAPE)]
    dtype, order, shape = (one[1] if one else None for one in found)
    axes = [int(axis) for axis in re.findall(r"[0-9]{1,18}", shape or "")]
    if dtype is None or order is None or shape is None:
        raise InputError(
            f"{path} is no array of whole numbers (its header: {header.strip()[:80]!r});"
            " games are integers [game, up to 60 plies]"
        )
    if len(axes) != 2 or not 0 < axes[1] <= MAX_PLIES or axes[0] > 1 << 48:
        raise InputError(
            f"{path} is {np.dtype(dtype)} {axes}; games are integers [game, up to 60 plies]"
        )
    return np.dtype(dtype), order == "True", tuple(axes)
