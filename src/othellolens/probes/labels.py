"""Labels: what a probe is told of each position of some games."""

from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Int32, Int64
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..gpt.tokens import CONTEXT
from ..othello.boards import Boards
from ..othello.games import Games
from .board import by_parity, classes
from .probe import UNKNOWN

Convention: TypeAlias = Literal["rules", "parity", "colours", "shuffled"]
"""Whose the discs are: of the side to move by the "rules", or by the "parity" of the ply, which is
the published convention and wrong after a pass. "colours" have Black's discs in the place of mine
and White's in that of theirs. "shuffled" takes the truth by the rules of another game at the same
ply: what can be learnt from it is how the plies differ, and no more."""
CONVENTIONS: tuple[Convention, ...] = ("rules", "parity", "colours", "shuffled")
Plies: TypeAlias = Literal["all", "even", "odd"]
"""Which plies, counted from 0; where nobody has passed, Black is to move after an odd one."""
_CHUNK = 2048


@runtime_checkable
class Labels(Protocol):
    """Truth by (game, ply)."""

    def of(self, at: Int32[Tensor, "position 2"]) -> Int64[Tensor, "position fact"]:
        """The labels of rows, `UNKNOWN` where there is none."""
        ...


class _Moved:
    """Which position is looked at instead of (game, ply)."""

    def __init__(
        self, games: Games, labels: Convention, back: int, plies: Plies, seed: int
    ) -> None:
        if labels not in CONVENTIONS:
            raise InputError(f"labels go by {', '.join(CONVENTIONS)}: not {labels!r}")
        if not 0 <= back < CONTEXT:
            raise InputError(
                f"labels of {back} plies back: 0 is the position itself, and the model reads"
                f" {CONTEXT} plies"
            )
        if plies not in ("all", "even", "odd"):
            raise InputError(f"plies are all, even or odd: not {plies!r}")
        self._games, self._back = torch.arange(len(games)), back
        self._parities = {"all": (0, 1), "even": (0,), "odd": (1,)}[plies]
        if labels == "shuffled":
            generator = torch.Generator().manual_seed(seed)
            self._games = torch.randperm(len(games), generator=generator)
        self._lengths = games.lengths()

    def __call__(self, at: Tensor) -> tuple[Tensor, Tensor, Bool[Tensor, " position"]]:
        game, ply = at.long().unbind(1)
        chosen = torch.isin(ply % 2, torch.tensor(self._parities))
        game, ply = self._games[game], ply - self._back
        known = chosen & (ply >= 0) & (ply < self._lengths[game])
        return game, ply.clamp(min=0), known


class BoardLabels:
    """0 mine, 1 theirs, 2 empty of every square; `back` plies before the position, if asked.

    An earlier position is seen by the side that moved then.
    """

    def __init__(
        self,
        games: Games,
        *,
        labels: Convention = "rules",
        back: int = 0,
        plies: Plies = "all",
        seed: int = 0,
    ) -> None:
        self._moved = _Moved(games, labels, back, plies, seed)
        self._table, self._seen = games.replay_table(), _SEEN.get(labels, lambda boards: boards)

    def of(self, at: Int32[Tensor, "position 2"]) -> Int64[Tensor, "position 64"]:
        """The labels of rows."""
        game, ply, known = self._moved(at)
        table, there = self._table, torch.stack([game, ply], 1).to(torch.int32)
        boards = Boards(
            table.mine[game, ply], table.theirs[game, ply], there, table.black[game, ply]
        )
        found = classes(self._seen(boards))
        return found.masked_fill(~known[:, None], UNKNOWN)


def _by_colour(boards: Boards) -> Boards:
    """Black's discs as mine."""
    mine, theirs = boards.mine, boards.theirs
    black = torch.where(boards.black, mine, theirs)
    white = torch.where(boards.black, theirs, mine)
    return Boards(black, white, boards.at, torch.ones_like(boards.black))


_SEEN: dict[str, Callable[[Boards], Boards]] = {"parity": by_parity, "colours": _by_colour}


class FactLabels:
    """1 where a concept holds and 0 where not; kept as bits, an eighth of a byte a fact."""

    def __init__(
        self,
        games: Games,
        concepts: ConceptSet,
        *,
        labels: Convention = "rules",
        back: int = 0,
        plies: Plies = "all",
        seed: int = 0,
    ) -> None:
        if labels in _SEEN:
            raise InputError(f"labels by {labels} are for boards: facts go by the rules")
        self._moved, self._facts = _Moved(games, labels, back, plies, seed), len(concepts)
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
