"""What the judge would say if there were nothing to find, and if there were everything.

`Permuted` keeps features and facts as they are and breaks what joins them; `Oracle` is an encoder
that is the truth.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..lens import Read, Reads
from ..othello.boards import Boards
from ..othello.games import Games

_LEAST = 4
# Games of which each half has two.


@dataclass(frozen=True)
class Borrowed(Read):
    """Features with the facts of other rows."""

    lender: Boards
    rows: Int64[Tensor, " position"]

    def facts(self, concepts: ConceptSet) -> Bool[Tensor, "position concept"]:
        """What holds at the rows that were lent."""
        return concepts.of(self.lender)[self.rows]


@dataclass(frozen=True)
class Permuted:
    """A lens whose features meet the facts of other positions: nothing joins them any more.

    Rows change places only with rows of the same half of the games. With "positions" any two
    positions of a batch may change places: scores must be those of chance. With "games" each game
    meets the facts of the next one at the same ply: what is left is what the ply alone tells. No
    game meets its own facts: one that is alone in its half of a batch is left out.
    """

    reads: Reads
    how: Literal["positions", "games"] = "positions"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in ("positions", "games"):
            raise InputError(f"permute positions or games: not {self.how!r}")

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        """Every position, with the facts of another one.

        Raises:
            InputError: in one half of the games no game has another one to change places with.
        """
        if self.how == "games" and min(len(games), batch) < _LEAST:
            raise InputError(
                f"{min(len(games), batch)} games are too few to change places within the even and"
                f" the odd ones: take {_LEAST} or more"
            )
        generator = torch.Generator().manual_seed(self.seed)
        for read in self.reads.read(games, batch=batch):
            at = read.boards.at.long()
            mixed = _mixed(at, generator) if self.how == "positions" else _next_game(at)
            kept = (mixed >= 0).nonzero()[:, 0]
            boards = read.boards[kept]
            yield Borrowed(boards, read.x[kept], read.features[kept], read.boards, mixed[kept])


def _mixed(at: Int64[Tensor, "position 2"], generator: torch.Generator) -> Tensor:
    lender = torch.empty(len(at), dtype=torch.int64)
    for half in (0, 1):
        rows = (at[:, 0] % 2 == half).nonzero()[:, 0]
        lender[rows] = rows[torch.randperm(len(rows), generator=generator)]
    return lender


def _next_game(at: Int64[Tensor, "position 2"]) -> Tensor:
    """The row of the same ply in the next game of the half, in a circle; -1 where there is none.

    There is none where the next game is over, or where a game is the only one of its half.
    """
    lender = torch.full((len(at),), -1, dtype=torch.int64)
    row = {(game, ply): i for i, (game, ply) in enumerate(at.tolist())}
    for half in (0, 1):
        games = at[at[:, 0] % 2 == half, 0].unique().tolist()
        follower = dict(zip(games, games[1:] + games[:1], strict=True)) if len(games) > 1 else {}
        for (game, ply), i in row.items():
            if game in follower:
                lender[i] = row.get((follower[game], ply), -1)
    return lender


@dataclass(frozen=True)
class Oracle:
    """Features that are the concepts themselves: the ceiling of every score."""

    concepts: ConceptSet
    plies: int = 59
    """How many moves of a game a model can read."""

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        """Every position; the activations are the features, 0 and 1."""
        for first in range(0, len(games), batch):
            boards = games[first : first + batch].replay()
            features = self.concepts.of(boards).float()
            kept = boards.at[:, 1] < self.plies
            boards, features = boards[kept], features[kept]
            boards.at[:, 0] += first
            yield Read(boards, features, features)
