"""Labels: what a probe is told of each position of some games."""

from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int32, Int64
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..othello.boards import Boards
from ..othello.games import Games
from .board import by_parity, classes
from .probe import UNKNOWN

Convention: TypeAlias = Literal["rules", "parity", "shuffled"]
"""Whose the discs are: of the side to move by the "rules", or by the "parity" of the ply, which is
the published convention and wrong after a pass. "shuffled" takes the truth of another game at the
same ply: what can be learnt from it is how the plies differ, and no more."""
CONVENTIONS: tuple[Convention, ...] = ("rules", "parity", "shuffled")
_CHUNK = 2048


@runtime_checkable
class Labels(Protocol):
    """Truth by (game, ply)."""

    def of(self, at: Int32[Tensor, "position 2"]) -> Int64[Tensor, "position fact"]:
        """The labels of rows, `UNKNOWN` where there is none."""
        ...


class _Moved:
    """Which position is looked at instead of (game, ply)."""

    def __init__(self, games: Games, labels: Convention, back: int, seed: int) -> None:
        if labels not in CONVENTIONS:
            raise InputError(f"labels go by {', '.join(CONVENTIONS)}: not {labels!r}")
        if back < 0:
            raise InputError(f"labels of {back} plies back: 0 is the position itself")
        self._games, self._back = torch.arange(len(games)), back
        if labels == "shuffled":
            generator = torch.Generator().manual_seed(seed)
            self._games = torch.randperm(len(games), generator=generator)
        self._lengths = games.lengths()

    def __call__(self, at: Tensor) -> tuple[Tensor, Tensor, Bool[Tensor, " position"]]:
        game, ply = at.long().unbind(1)
        game, ply = self._games[game], ply - self._back
        known = (ply >= 0) & (ply < self._lengths[game])
        return game, ply.clamp(min=0), known


class BoardLabels:
    """0 mine, 1 theirs, 2 empty of every square; `back` plies before the position, if asked.

    An earlier position is seen by the side that moved then.
    """

    def __init__(
        self, games: Games, *, labels: Convention = "rules", back: int = 0, seed: int = 0
    ) -> None:
        self._moved = _Moved(games, labels, back, seed)
        self._table, self._parity = games.replay_table(), labels == "parity"

    def of(self, at: Int32[Tensor, "position 2"]) -> Int64[Tensor, "position 64"]:
        """The labels of rows."""
        game, ply, known = self._moved(at)
        table, there = self._table, torch.stack([game, ply], 1).to(torch.int32)
        boards = Boards(
            table.mine[game, ply], table.theirs[game, ply], there, table.black[game, ply]
        )
        found = classes(by_parity(boards) if self._parity else boards)
        return found.masked_fill(~known[:, None], UNKNOWN)


class FactLabels:
    """1 where a concept holds and 0 where not; kept as bits, an eighth of a byte a fact."""

    def __init__(
        self,
        games: Games,
        concepts: ConceptSet,
        *,
        labels: Convention = "rules",
        back: int = 0,
        seed: int = 0,
    ) -> None:
        if labels == "parity":
            raise InputError("labels by parity are for boards: facts go by the rules")
        self._moved, self._facts = _Moved(games, labels, back, seed), len(concepts)
        lengths = games.lengths()
        self._first = lengths.cumsum(0) - lengths
        parts = [
            np.packbits(concepts.of(games[first : first + _CHUNK].replay()).numpy(), axis=1)
            for first in range(0, len(games), _CHUNK)
        ]
        self._bits = np.concatenate(parts)

    def of(self, at: Int32[Tensor, "position 2"]) -> Int64[Tensor, "position fact"]:
        """The labels of rows."""
        game, ply, known = self._moved(at)
        rows = (self._first[game] + ply).where(known, 0).numpy()
        found = np.unpackbits(self._bits[rows], axis=1, count=self._facts)
        return torch.from_numpy(found).long().masked_fill(~known[:, None], UNKNOWN)
