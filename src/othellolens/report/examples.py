"""Examples: a few positions of every feature, one a game, chosen in the second pass."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..lens import Read
from .tally import Tally, activations

STRONGEST, MEDIAN, RANDOM = 12, 6, 6
"""How many positions a group shows."""
BINS = 20
"""Bins of a histogram, of equal width from 0 to the largest activation."""


class Example(NamedTuple):
    """A position and how strongly the feature is on there."""

    game: int
    ply: int
    activation: float


class Group:
    """For every feature the positions of highest rank, one a game: a streaming top-k."""

    def __init__(self, size: int, features: int) -> None:
        self.rank = torch.full((size, features), -torch.inf)
        self.game = torch.zeros(size, features, dtype=torch.int64)
        self.ply = torch.zeros(size, features, dtype=torch.int64)
        self.activation = torch.zeros(size, features)

    def offer(
        self,
        rank: Float[Tensor, "game ply feature"],
        x: Float[Tensor, "game ply feature"],
        first: int,
    ) -> None:
        """Let some whole games compete; what must not be shown has rank -inf.

        Args:
            rank: what decides.
            x: the activations.
            first: the number of the first game.
        """
        best, ply = rank.max(1)
        game = torch.arange(first, first + len(rank))[:, None].expand_as(ply)
        self.rank, index = torch.cat([self.rank, best]).topk(len(self.rank), dim=0)
        self.game = torch.cat([self.game, game]).gather(0, index)
        self.ply = torch.cat([self.ply, ply]).gather(0, index)
        strength = x.gather(1, ply[:, None])[:, 0]
        self.activation = torch.cat([self.activation, strength]).gather(0, index)

    def of(self, feature: int) -> list[Example]:
        """The positions of one feature, highest rank first; fewer where it is seldom on."""
        kept = self.rank[:, feature] > -torch.inf
        columns = (self.game, self.ply, self.activation)
        rows = zip(*(column[kept, feature].tolist() for column in columns), strict=True)
        return [Example(*row) for row in rows]


@dataclass(frozen=True)
class Examples:
    """What the second pass finds."""

    strongest: Group
    """Of each game its strongest position; the strongest games."""
    median: Group
    """The positions whose activation is nearest the median of those that are on."""
    random: Group
    """Drawn at random from the positions that are on."""
    histogram: Int64[Tensor, "feature bin"]
    """How many of the positions that are on have an activation in each bin."""

    def groups(self) -> Iterator[tuple[str, Group]]:
        """The groups by name, in the order in which they are shown."""
        yield "strongest", self.strongest
        yield "median", self.median
        yield "random", self.random


def find_examples(reads: Iterable[Read], tally: Tally, *, seed: int) -> Examples:
    """Choose positions to show. Memory: a few batches of features, whatever the games.

    Args:
        reads: what a lens sees of the games, the same as in the first pass.
        tally: what the first pass counted.
        seed: of the random group.
    """
    features = len(tally.fires)
    found = Examples(
        Group(STRONGEST, features),
        Group(MEDIAN, features),
        Group(RANDOM, features),
        torch.zeros(features, BINS, dtype=torch.int64),
    )
    median, generator = tally.median(), torch.Generator().manual_seed(seed)
    for read in reads:
        if not len(read.boards):
            continue
        x, first = _by_game(read)
        off = x == 0
        for group, rank in (
            (found.strongest, x.clone()),
            (found.median, (x - median).abs_().neg_()),
            (found.random, torch.rand(x.shape, generator=generator)),
        ):
            group.offer(rank.masked_fill_(off, -torch.inf), x, first)
        found.histogram.add_(_histogram(x, tally.highest))
    return found


def _by_game(read: Read) -> tuple[Float[Tensor, "game ply feature"], int]:
    """The activations with the axes game and ply, 0 after the end; and the first game's number."""
    values = activations(read)
    game, ply = read.boards.at.long().unbind(1)
    first = int(game[0])
    x = values.new_zeros(int(game[-1]) - first + 1, int(ply.max()) + 1, values.shape[1])
    x[game - first, ply] = values
    return x, first


def _histogram(
    x: Float[Tensor, "game ply feature"], highest: Float[Tensor, " feature"]
) -> Int64[Tensor, "feature bin"]:
    on = x > 0
    feature = on.nonzero()[:, 2]
    place = (x[on] / highest[feature] * BINS).long().clamp(0, BINS - 1)
    count = torch.bincount(feature * BINS + place, minlength=len(highest) * BINS)
    return count.view(-1, BINS)
