"""Where many games stand, move by move; a move that breaks the rules breaks the game for good."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray
from torch import Tensor

from ...othello import bitboards
from ...othello.bitboards import Bits


@dataclass(frozen=True)
class Positions:
    """One position a game, seen by the side that moves next by the rules.

    `Games.replay` is the fast way for games that are known to be legal; here any move may come.
    """

    mine: Bits
    theirs: Bits
    legal: Bits
    """Legal moves; 0 where the game is over or broken."""
    broken: NDArray[np.bool_]
    """Whether an illegal move was made."""

    @staticmethod
    def start(count: int) -> "Positions":
        """The start position, `count` times."""
        mine, theirs = (np.full(count, side) for side in bitboards.start())
        return Positions(mine, theirs, bitboards.legal_moves(mine, theirs), np.zeros(count, bool))

    @property
    def over(self) -> NDArray[np.bool_]:
        """Whether nobody can move."""
        return (self.legal == 0) & ~self.broken

    def play(self, moves: Int[Tensor, " game"]) -> "Positions":
        """Make one move in each game, and the pass that it forces; -1 is no move."""
        square = moves.numpy().astype(np.int64)
        bit = np.where(square < 0, 0, np.uint64(1) << square.clip(0).astype(np.uint64))
        good = (bit & self.legal) != 0
        turned = bitboards.flipped_by(bit, self.mine, self.theirs)
        mine = np.where(good, self.theirs ^ turned, self.mine)
        theirs = np.where(good, self.mine | bit | turned, self.theirs)
        broken = self.broken | ((square >= 0) & ~good)
        return _passed(mine, theirs, broken)

    def __getitem__(self, rows: NDArray[np.int64]) -> "Positions":
        return Positions(self.mine[rows], self.theirs[rows], self.legal[rows], self.broken[rows])


def _passed(mine: Bits, theirs: Bits, broken: NDArray[np.bool_]) -> Positions:
    legal = bitboards.legal_moves(mine, theirs)
    replies = bitboards.legal_moves(theirs, mine)
    turn = (legal == 0) & (replies != 0)
    mine, theirs = np.where(turn, theirs, mine), np.where(turn, mine, theirs)
    return Positions(mine, theirs, np.where(broken, 0, legal | replies * turn), broken)
