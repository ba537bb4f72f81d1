"""Recording: read once, judge often.

A judge looks at the same positions again and again: for peaks, counts, ranks, intervals, boards.
The model and the encoder need to run only once; active features are few, and are kept.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..lens import Read, Reads
from ..othello.boards import Boards
from ..othello.games import Games


class _Part(NamedTuple):
    """One batch: its boards, and the entries of its features that are above 0."""

    moves: Tensor
    boards: Boards
    rows: Tensor
    columns: Tensor
    values: Tensor
    width: int


class Recording:
    """What a lens saw of some games: gives the same boards and features again, without the model.

    Activations are not kept: `x` of what it gives has no columns. Features that are not above 0
    come back as 0; to the judge they are off all the same.

    Memory: 12 bytes an active feature of a position, 25 a position.
    """

    def __init__(self, reads: Reads, games: Games, *, batch: int = 64) -> None:
        """Read the games.

        Args:
            reads: a lens, or anything else that gives boards and features of the same rows.
            games: what will be asked for; or for the first of them.
            batch: games at a time, now and later.
        """
        self._parts: list[_Part] = []
        for number, read in enumerate(reads.read(games, batch=batch)):
            moves = games.moves[number * batch : (number + 1) * batch]
            self._parts.append(_part(moves, read))

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:  # noqa: ARG002
        """Every position of these games, in the batches in which they were recorded.

        Raises:
            InputError: they are not the games that were recorded, or the first of them.
        """
        done = 0
        for part in self._parts:
            if done >= len(games):
                return
            left = min(len(part.moves), len(games) - done)
            if not torch.equal(part.moves[:left], games.moves[done : done + left]):
                break
            yield _read(part, done + left)
            done += len(part.moves)
        if done < len(games):
            raise InputError("these are not the games that were recorded: record them first")


def _part(moves: Tensor, read: Read) -> _Part:
    features = read.features.detach().float().cpu()
    rows, columns = (features > 0).nonzero().int().unbind(1)
    values = features[rows.long(), columns.long()]
    return _Part(moves, read.boards, rows, columns, values, features.shape[1])


def _read(part: _Part, stop: int) -> Read:
    """The part's positions of games before number `stop`."""
    features = torch.zeros(len(part.boards), part.width)
    features[part.rows.long(), part.columns.long()] = part.values
    kept = int((part.boards.at[:, 0] < stop).sum())
    return Read(part.boards[:kept], torch.zeros(kept, 0), features[:kept])
