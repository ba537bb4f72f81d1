"""Diagrams: positions of games as a page draws them, in true colours, with the way there."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..othello import bitboards
from ..othello.bitboards import START_BLACK, START_WHITE, Bits
from ..othello.boards import to_bits
from ..othello.games import Games, Table
from ..othello.squares import NO_MOVE, name
from .examples import Example


class Diagram(NamedTuple):
    """One position. Squares are numbers 0..63, 8 * letter + (digit - 1)."""

    game: int
    ply: int
    """The last move's number, from 0."""
    activation: float
    board: str
    """64 signs in the order of the squares: X black, O white, . empty."""
    black: bool
    """Whether Black is to move."""
    last: int
    """Square of the last move."""
    flipped: list[int]
    """Squares whose discs the last move turned over."""
    legal: list[int]
    """Squares open to the side to move; none where the game is over."""
    moves: str
    """The moves up to here as players write them, "f5d6c3"; passes are not written."""
    passes: list[int]
    """Plies after which the opponent of the mover had to pass."""


def draw(games: Games, examples: Sequence[Example]) -> list[Diagram]:
    """The diagrams of some positions, in their order."""
    if not examples:
        return []
    numbers, row = np.unique([example.game for example in examples], return_inverse=True)
    shown = Games(games.moves[torch.from_numpy(numbers)], games.origin)
    ply = np.array([example.ply for example in examples])
    records = ["".join(name(s) for s in game if s != NO_MOVE) for game in shown.moves.tolist()]
    table = shown.replay_table()
    boards, flipped, legal = _positions(shown, table, row, ply)
    sides = table.black.numpy()
    # Black makes the first move; each later one is made by the side to move after the one before.
    movers = np.concatenate([np.ones_like(sides[:, :1]), sides[:, :-1]], axis=1)
    return [
        Diagram(
            *example,
            board=boards[i],
            black=bool(sides[row[i], example.ply]),
            last=int(shown.moves[row[i], example.ply]),
            flipped=flipped[i].nonzero()[0].tolist(),
            legal=legal[i].nonzero()[0].tolist(),
            moves=records[row[i]][: 2 * (example.ply + 1)],
            # After the end the other side counts as the one to move: nobody has passed.
            passes=(movers[row[i]] == sides[row[i]])[: example.ply + 1].nonzero()[0].tolist(),
        )
        for i, example in enumerate(examples)
    ]


def _positions(
    games: Games, table: Table, row: NDArray[np.intp], ply: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.bool_], NDArray[np.bool_]]:
    """The 64 signs; by square, discs that the last move turned over and where one may move."""
    mine, theirs, legal = (to_bits(x)[row, ply] for x in (table.mine, table.theirs, table.legal))
    black = table.black.numpy()[row, ply][:, None]
    own, other = np.where(black, "X", "O"), np.where(black, "O", "X")
    discs, against = bitboards.unpack(mine), bitboards.unpack(theirs)
    signs = np.where(discs, own, np.where(against, other, "."))
    # Row t - 1 is the board as the mover of move t saw it.
    mover_had = _before(table.mine, START_BLACK)[row, ply]
    other_had = _before(table.theirs, START_WHITE)[row, ply]
    move = np.uint64(1) << games.moves.numpy()[row, ply].astype(np.uint64)
    flipped = bitboards.flipped_by(move, mover_had, other_had)
    return ["".join(row) for row in signs], bitboards.unpack(flipped), bitboards.unpack(legal)


def _before(after: Tensor, start: np.uint64) -> Bits:
    """What stood before each move: what stood after the one before, at first the start."""
    whole = to_bits(after)
    return np.concatenate([np.full((len(whole), 1), start), whole[:, :-1]], axis=1)
