"""Transpositions: different histories that reach the same position.

A position is its discs and who moves next; a history is the ordered list of moves up to it. Every
move adds one disc and passes add none, so equal positions always stand at equal plies: no pair
joins two plies, and the index is made one ply at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int32, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .bitboards import Bits
from .boards import to_bits
from .distinct import first_equal, in_order, words
from .games import Games
from .squares import MAX_PLIES, NO_MOVE

_CHUNK = 8192
_BATCH = 65_536


class Transposition(NamedTuple):
    """One position and all rows that reach it."""

    at: Tensor
    """int32 [position, 2]: (game, ply)."""
    history: Tensor
    """int64 [position], equal where the moves up to there are equal."""


class _Planes(NamedTuple):
    """Positions [ply, game]: one ply lies in one piece."""

    mine: Bits
    theirs: Bits
    black: NDArray[np.bool_]


@dataclass(frozen=True)
class Transpositions:
    """All positions of a set of games that are reached by at least two different histories.

    Rows of one position stand together, and in them rows of one history: sorted by ply, position,
    history and game. Games that begin alike are no transposition of each other, however many they
    are; a position that all its games reach by the same moves has no rows here.
    """

    at: Int32[Tensor, "position 2"]
    """(game, ply), as in `Games.replay()`."""
    group: Int64[Tensor, " position"]
    """Number of the position, 0, 1, 2, ... without gaps."""
    history: Int64[Tensor, " position"]
    """The number of a game that begins with the moves 0..ply; the same for all that begin so."""

    @staticmethod
    def of(games: Games, *, plies: range = range(MAX_PLIES)) -> "Transpositions":
        """Build the index.

        Memory: 17 bytes a position of the chosen plies, about 500 bytes a game for the sorting of
        one ply, and 24 bytes a row of the answer, twice while it is joined.

        Args:
            games: what to search.
            plies: which plies to search; row t is the position after move t.

        Raises:
            IllegalMoveError: a game breaks the rules.
        """
        lists = words(games.moves[:, :MAX_PLIES])
        order = in_order(lists)
        common = _common(games.moves.numpy()[order])
        chosen = [ply for ply in plies if ply in range(games.moves.shape[1])]
        planes = _planes(games, chosen)
        parts = [
            _of_ply(ply, games, _Planes(*(plane[i] for plane in planes)), order, common)
            for i, ply in enumerate(chosen)
        ]
        return _joined(parts)

    def __len__(self) -> int:
        """How many positions are reached in more than one way."""
        return int(self.group[-1]) + 1 if len(self.group) else 0

    @property
    def pair_count(self) -> int:
        """How many pairs of rows have the same position and different histories."""
        return int(self._partners[0].sum())

    def groups(self) -> Iterator[Transposition]:
        """Position by position, its rows."""
        sizes = self.group.bincount().tolist()
        yield from map(Transposition, self.at.split(sizes), self.history.split(sizes))

    def once(self) -> "Transpositions":
        """The same positions with one row for each history, the first game of those that share it.

        The pairs of what is left are pairs of histories: games that begin alike count once.
        """
        new = torch.ones(len(self.group), dtype=torch.bool)
        new[1:] = (self.group[1:] != self.group[:-1]) | (self.history[1:] != self.history[:-1])
        return Transpositions(self.at[new], self.group[new], self.history[new])

    def pairs(self, limit: int, *, seed: int = 0) -> Int32[Tensor, "pair 2 2"]:
        """Pairs of rows with the same position and different histories: [pair, row, (game, ply)].

        If there are more than `limit`, that many different ones, drawn uniformly; otherwise all.
        In either case in order. Early plies have most of the pairs: choose plies when the index is
        made, or draw from `once()`, where that is not meant.

        Raises:
            InputError: `limit` is negative.
        """
        if limit < 0:
            raise InputError(f"limit must not be negative: got {limit}")
        total = self.pair_count
        if limit >= total:
            return self._pairs_at(np.arange(total))
        chance = np.random.default_rng(seed)
        return self._pairs_at(np.sort(chance.choice(total, limit, replace=False, shuffle=False)))

    def all_pairs(self, *, batch: int = _BATCH) -> Iterator[Int32[Tensor, "pair 2 2"]]:
        """All pairs in order, `batch` at a time, however many they are."""
        total = self.pair_count
        for first in range(0, total, batch):
            yield self._pairs_at(np.arange(first, min(first + batch, total)))

    @cached_property
    def _partners(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many later rows each row pairs with, and the first of them."""
        group, history = self.group.numpy(), self.history.numpy()
        group_ends = np.searchsorted(group, group, side="right")
        new = np.ones(len(group) + 1, dtype=np.bool_)
        new[1:-1] = (group[1:] != group[:-1]) | (history[1:] != history[:-1])
        starts = np.flatnonzero(new)
        first = np.repeat(starts[1:], np.diff(starts))
        return group_ends - first, first

    def _pairs_at(self, ranks: NDArray[np.int64]) -> Int32[Tensor, "pair 2 2"]:
        """Pairs by their numbers in the order of all pairs."""
        partners, first = self._partners
        ends = np.cumsum(partners)
        row = np.searchsorted(ends, ranks, side="right")
        other = first[row] + ranks - (ends - partners)[row]
        return torch.stack([self.at[row], self.at[other]], 1)


def _common(moves: NDArray[np.int8]) -> NDArray[np.int64]:
    """How many moves each list shares with the one before it."""
    common = np.zeros(len(moves), dtype=np.int64)
    for first in range(1, len(moves), _CHUNK):
        part = moves[first - 1 : first + _CHUNK]
        differ = np.pad(part[1:] != part[:-1], ((0, 0), (0, 1)), constant_values=True)
        common[first : first + _CHUNK] = differ.argmax(1)
    return common


def _planes(games: Games, plies: list[int]) -> _Planes:
    """The positions of some plies, seen by the side to move, as three words each."""
    shape = (len(plies), len(games))
    mine, theirs = np.empty(shape, np.uint64), np.empty(shape, np.uint64)
    black = np.empty(shape, np.bool_)
    for first in range(0, len(games), _CHUNK):
        table, cut = games[first : first + _CHUNK].replay_table(), slice(first, first + _CHUNK)
        mine[:, cut], theirs[:, cut] = (to_bits(x)[:, plies].T for x in (table.mine, table.theirs))
        black[:, cut] = table.black.numpy()[:, plies].T
    return _Planes(mine, theirs, black)


def _of_ply(
    ply: int,
    games: Games,
    planes: _Planes,
    order: NDArray[np.int64],
    common: NDArray[np.int64],
) -> Transpositions:
    """The transpositions of one ply; `order` sorts the games by their moves."""
    begins = np.flatnonzero(common <= ply)
    history = np.repeat(order[begins], np.diff(begins, append=len(order)))
    alive = games.moves.numpy()[order, ply] != NO_MOVE
    game, history = order[alive], history[alive]
    position = first_equal(np.stack([plane[game].astype(np.uint64) for plane in planes], 1))
    new = np.diff(history, prepend=-1) != 0
    many = (np.bincount(position[new], minlength=len(game)) > 1)[position]
    game, history, position = game[many], history[many], position[many]
    _, group = np.unique(position, return_inverse=True)
    rows = np.lexsort((game, history, group))
    at = np.stack([game, np.full_like(game, ply)], 1)[rows].astype(np.int32)
    columns = (torch.from_numpy(x) for x in (at, group[rows], history[rows]))
    return Transpositions(*columns)


def _joined(parts: list[Transpositions]) -> Transpositions:
    """Plies one after the other, their positions numbered on."""
    first = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    groups = [part.group + start for part, start in zip(parts, first, strict=False)]
    none = torch.zeros(0, dtype=torch.int64)
    return Transpositions(
        torch.cat([torch.zeros(0, 2, dtype=torch.int32), *(part.at for part in parts)]),
        torch.cat([none, *groups]),
        torch.cat([none, *(part.history for part in parts)]),
    )
