"""What reading a game file gives: games, what is recorded of them, and what was refused."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..games import Games, IllegalMoveError
from ..squares import MAX_PLIES

FormName = Literal[
    "npy",
    "board_seqs_int",
    "board_seqs_string",
    "text",
    "pgn",
    "wthor",
    "pickle",
    "safetensors",
]
Illegal = Literal["fail", "skip"]

UNREADABLE = -2
"""Stands in `Raw.moves` for a number that means no square; `Raw.source` has the number."""


class Meta(NamedTuple):
    """What a file records of one game beside its moves; "" and None where it says nothing."""

    black: str = ""
    white: str = ""
    event: str = ""
    date: str = ""
    """A year ("2012") or PGN's "2012.05.30"."""
    round: str = ""
    score: int | None = None
    """Black's discs of 64, the empty squares given to the winner."""
    theoretical: int | None = None
    """The same after best play from some depth on (WTHOR)."""


class Fault(NamedTuple):
    """Why a game cannot be read, and at which of its plies."""

    ply: int
    reason: str


@dataclass(frozen=True)
class Raw:
    """What a reader makes of a file before the rules are asked."""

    moves: NDArray[np.int8]
    """[game, 60]: squares, -1 after the end, `UNREADABLE` for a number that is no square."""
    meta: Sequence[Meta] = ()
    """One a game, or none at all."""
    passes: Sequence[tuple[int, int]] = ()
    """(game, ply): the file writes a pass before that ply."""
    faults: dict[int, Fault] = field(default_factory=dict[int, Fault])
    """Games that cannot be read, by their number; their rows in `moves` mean nothing."""
    source: NDArray[np.integer[Any]] | None = None
    """[game, ply]: the numbers as they stand in the file."""
    unit: str = "square (0..63)"
    """What each number of `source` should be."""
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Refusal:
    """A game that was refused: counted from 0, as are its plies."""

    file: str
    game: int
    ply: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}, game {self.game}, ply {self.ply}: {self.reason}"

    def error(self) -> IllegalMoveError:
        """The same as an error."""
        return IllegalMoveError(str(self))


class Ends(NamedTuple):
    """What replaying games says of them."""

    passes: Int64[Tensor, " game"]
    """How often a player had to pass, the end of the game not counted."""
    discs: Int64[Tensor, "game 2"]
    """Discs of Black and of White after the last move."""
    over: Bool[Tensor, " game"]
    """Whether nobody can move any more."""

    def scores(self) -> Int64[Tensor, " game"]:
        """Black's discs by the federation's rule: the empty squares go to the winner; a draw
        splits them."""
        black, white = self.discs.unbind(1)
        empty = 64 - black - white
        won = (black > white) * empty
        return black + won + (black == white) * (empty // 2)


@dataclass(frozen=True)
class Records:
    """The games of a file, each replayed by the rules, with what the file records of them."""

    games: Games
    form: FormName
    meta: Sequence[Meta]
    """One a game; empty where the form of file has none."""
    numbers: Int64[Tensor, " game"]
    """The number of each game in its file, counted from 0: games that were skipped leave gaps."""
    ends: Ends
    skipped: Sequence[Refusal]
    notes: Sequence[str]
    """What a reader found odd, and what it did without."""

    def agreeing(self) -> float | None:
        """Share of the games with a recorded score whose discs at the end say the same."""
        found = self.ends.scores().tolist()
        same = [
            one.score == score
            for one, score in zip(self.meta, found, strict=bool(self.meta))
            if one.score is not None
        ]
        return sum(same) / len(same) if same else None


def rows_of(games: Sequence[bytes]) -> NDArray[np.int8]:
    """Move lists, one byte a square, as `Raw.moves`."""
    # The byte 255 is -1, the mark after the end of a game.
    whole = b"".join(game.ljust(MAX_PLIES, b"\xff") for game in games)
    return np.frombuffer(whole, dtype=np.int8).reshape(-1, MAX_PLIES)
