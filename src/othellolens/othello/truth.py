"""What the rules say of moves: what each one turned over or would turn over, and who could move.

All of it for whole batches of boards. Bitboards are int64 tensors as in `Boards`; directions are
numbered as in `directions.py`. What the discs themselves look like is in `shapes.py`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int8, Int32, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from . import bitboards
from .bitboards import START_BLACK, START_WHITE, Bits
from .boards import Boards, to_bits, to_tensor
from .directions import DIRECTIONS, flanked, in_chunks, neighbours


@dataclass(frozen=True)
class Turns:
    """What happened in the move that led to each board: row (g, t) tells of move t of game g."""

    at: Int32[Tensor, "position 2"]
    """(game, ply)."""
    black: Bool[Tensor, " position"]
    """Whether Black made the move."""
    passed: Bool[Tensor, " position"]
    """Whether the opponent had to pass just before it, so that the mover moved twice running."""
    square: Int8[Tensor, " position"]
    """Where, 0..63."""
    flips: Int64[Tensor, " position"]
    """Bitboards of the discs that it turned over."""
    directions: UInt8[Tensor, " position"]
    """Masks of the directions, seen from `square`, in which it turned discs over."""

    def __len__(self) -> int:
        return len(self.square)


@dataclass(frozen=True)
class Options:
    """What each legal move of the side to move would do; all 0 where a square is not legal."""

    flips: Int64[Tensor, "position 64"]
    """Bitboards of the discs that a move there turns over."""
    directions: UInt8[Tensor, "position 64"]
    """Masks of the directions, seen from there, in which it flanks."""

    def counts(self) -> UInt8[Tensor, "position 64"]:
        """How many discs a move there turns over."""
        return torch.from_numpy(bitboards.count(to_bits(self.flips)))


@dataclass(frozen=True)
class Mobility:
    """Where either side can move now, and where it may come to; bitboards."""

    mine: Int64[Tensor, " position"]
    """Legal moves of the side to move, as `Boards.legal`."""
    theirs: Int64[Tensor, " position"]
    """What would be the other side's legal moves if it had to move on this board."""
    potential_mine: Int64[Tensor, " position"]
    """Empty squares beside, straight or diagonally, a disc of theirs: every legal move of mine is
    one of them. This is the second of the three potential mobilities of Rosenbloom (1982), "A
    World-Championship-Level Othello Program", Artificial Intelligence 19."""
    potential_theirs: Int64[Tensor, " position"]
    """Empty squares beside a disc of mine."""


def turns(boards: Boards) -> Turns:
    """The move that led to each board, read off the board before it.

    Args:
        boards: games from their first move on, row after row, as `Games.replay` gives them; whole
            or cut short at the end.

    Raises:
        InputError: a row does not follow the row of the ply before it.
    """
    mine, theirs, black = _before(boards)
    move = to_bits(boards.mine | boards.theirs) & ~(mine | theirs)
    if (bitboards.count(move) != 1).any():
        raise _not_in_order()
    flips, directions = in_chunks(_by_direction, move, mine, theirs)
    passed = np.concatenate([[False], black[1:] == black[:-1]]) & (boards.at[:, 1] > 0).numpy()
    return Turns(
        at=boards.at,
        black=torch.from_numpy(black),
        passed=torch.from_numpy(passed),
        square=torch.from_numpy(bitboards.count(move - np.uint64(1)).astype(np.int8)),
        flips=to_tensor(flips),
        directions=torch.from_numpy(directions.astype(np.uint8)),
    )


def options(boards: Boards) -> Options:
    """What every legal move of the side to move would turn over, and in which directions.

    Memory: 576 bytes a position for the answer, and some 70 bytes a legal move in passing.
    """
    mine, theirs = to_bits(boards.mine), to_bits(boards.theirs)
    flips = np.zeros((len(boards), 64), dtype=np.uint64)
    directions = np.zeros((len(boards), 64), dtype=np.uint8)
    rows, squares = np.nonzero(bitboards.unpack(bitboards.legal_moves(mine, theirs)))
    move = np.uint64(1) << squares.astype(np.uint64)
    turned, towards = in_chunks(_by_direction, move, mine[rows], theirs[rows])
    flips[rows, squares], directions[rows, squares] = turned, towards
    return Options(to_tensor(flips), torch.from_numpy(directions))


def mobility(boards: Boards) -> Mobility:
    """Legal and potential moves of both sides."""
    mine, theirs = to_bits(boards.mine), to_bits(boards.theirs)
    empty = ~(mine | theirs)
    return Mobility(
        mine=to_tensor(bitboards.legal_moves(mine, theirs)),
        theirs=to_tensor(bitboards.legal_moves(theirs, mine)),
        potential_mine=to_tensor(neighbours(theirs) & empty),
        potential_theirs=to_tensor(neighbours(mine) & empty),
    )


def _before(boards: Boards) -> tuple[Bits, Bits, NDArray[np.bool_]]:
    """The board before each move, as its mover saw it, and whether the mover was Black."""
    first = (boards.at[:, 1] == 0).numpy()
    follows = (boards.at[1:] - boards.at[:-1] == torch.tensor([0, 1])).all(1).numpy()
    if len(first) and not (first[0] and (first[1:] | follows).all()):
        raise _not_in_order()
    mine = np.where(first, START_BLACK, np.roll(to_bits(boards.mine), 1))
    theirs = np.where(first, START_WHITE, np.roll(to_bits(boards.theirs), 1))
    return mine, theirs, np.roll(boards.black.numpy(), 1) | first


def _by_direction(move: Bits, mine: Bits, theirs: Bits) -> tuple[Bits, Bits]:
    """Flips of each move, and the mask of the directions that they lie in."""
    flips, directions = np.zeros_like(move), np.zeros_like(move)
    for number, direction in enumerate(DIRECTIONS):
        run = flanked(move, mine, theirs, direction)
        flips |= run
        directions |= np.where(run, np.uint64(1 << number), np.uint64(0))
    return flips, directions


def _not_in_order() -> InputError:
    return InputError(
        "a move is read off the board before it, and these boards are not games from their first"
        " move on, row after row: pass all rows of games.replay(), in order"
    )
