"""Transposition invariance: different histories of one position should be continued alike."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from ...errors import InputError
from ...gpt.tokens import CONTEXT, PAD, tokens
from ...othello.games import Games
from ...othello.transpositions import Transpositions
from .behaviour import PHASES
from .players import EPSILON, Player, chances, check_epsilon, last_logits
from .watching import Watch, quiet

Pairs = Int32[Tensor, "pair 2 2"]
"""[pair, row, (game, ply)]; both rows of a pair stand at one ply."""
_CHUNK = 512
_TRIES = 100


class Agreement(NamedTuple):
    """Sums over pairs of rows, by their ply; rates are derived."""

    pairs: Int64[Tensor, " ply"]
    top: Int64[Tensor, " ply"]
    """Pairs with the same most likely move."""
    distance: Float[Tensor, " ply"]
    """Summed total variation distance, half the sum of |p - q| over the 61 tokens."""
    overlap: Float[Tensor, " ply"]
    """Summed Jaccard index of the accepted moves; two empty sets agree."""

    def __add__(self, other: "Agreement") -> "Agreement":  # pyright: ignore
        return Agreement(*(a + b for a, b in zip(self, other, strict=True)))

    def during(self, phase: str) -> "Agreement":
        """The plies of one of `PHASES` alone."""
        return Agreement(*(column[PHASES[phase]] for column in self))

    def rates(self) -> dict[str, float]:
        """Means over pairs; nan where there are none."""
        count, *sums = (float(column.sum()) for column in self)
        means = [one / count if count else float("nan") for one in sums]
        return {"pairs": count, **dict(zip(("top", "distance", "overlap"), means, strict=True))}


def agreement(
    player: Player,
    games: Games,
    pairs: Pairs,
    *,
    epsilon: float = EPSILON,
    watch: Watch = quiet,
    what: str = "agreement",
) -> Agreement:
    """How far a player continues both histories of each pair alike."""
    check_epsilon(epsilon)
    found = _nothing()
    for first in range(0, len(pairs), _CHUNK):
        part = pairs[first : first + _CHUNK]
        found += _agree(player, games, part, epsilon)
        watch(what, first + len(part), len(pairs))
    return found


def transposition_pairs(games: Games, limit: int, *, seed: int = 0) -> Pairs:
    """Pairs of different histories of one position at which somebody can move.

    Pairs of histories are drawn uniformly, and games that begin alike count once, so that the
    first plies, which all games share, do not crowd out the rest. Where the games hold fewer than
    `limit` such pairs, all of them.
    """
    return open_transpositions(games).pairs(limit, seed=seed)


def open_transpositions(games: Games) -> Transpositions:
    """The transpositions at which somebody can move, one row a history."""
    index = Transpositions.of(games, plies=range(CONTEXT)).once()
    game, ply = index.at.long().unbind(1)
    # A game is over where it has no next move; a truncated record counts as over.
    later = games.moves[game, (ply + 1).clamp(max=games.moves.shape[1] - 1)]
    open_rows = (later >= 0) & (ply + 1 < games.moves.shape[1])
    keep = torch.zeros(len(index), dtype=torch.bool).index_fill(0, index.group[open_rows], True)
    rows = keep[index.group]
    numbers = keep.cumsum(0) - 1
    return Transpositions(index.at[rows], numbers[index.group[rows]], index.history[rows])


def different_pairs(
    games: Games, plies: Int64[Tensor, " pair"], *, seed: int = 0
) -> Int32[Tensor, "pair 2 2"]:
    """For each ply one pair of different positions at it, at which somebody can move.

    Drawn uniformly over pairs of games that go on after it; equal positions are drawn again.

    Raises:
        InputError: at some ply the games have no two different positions.
    """
    chance = torch.Generator().manual_seed(seed)
    longer = games.lengths()[:, None] > torch.arange(1, CONTEXT + 1)
    drawn = torch.empty(len(plies), 2, dtype=torch.int64)
    missing = torch.arange(len(plies))
    for _ in range(_TRIES):
        for row in missing.tolist():
            alive = longer[:, plies[row]].nonzero()[:, 0]
            picked = torch.randint(max(len(alive), 1), (2,), generator=chance)
            drawn[row] = alive[picked] if len(alive) else 0
        missing = missing[_equal(games, drawn[missing], plies[missing])]
        if not len(missing):
            return torch.stack([drawn, plies[:, None].expand(-1, 2)], 2).to(torch.int32)
    raise InputError(f"at ply {int(plies[missing[0]])} the games have no two different positions")


def histories(
    games: Games, at: Int32[Tensor, "row 2"], room: int = 0
) -> Int64[Tensor, "row length"]:
    """Token ids of the moves 0..ply of each row (game, ply), then padding.

    Args:
        games: where the rows are.
        at: (game, ply) of each row.
        room: how many columns there are to be at least.
    """
    game, ply = at.long().unbind(1)
    length = max(int(ply.max()) + 1 if len(at) else 1, room)
    ids = tokens(Games(games.moves[game], games.origin))
    ids = torch.nn.functional.pad(ids, (0, max(0, length - ids.shape[1])), value=PAD)[:, :length]
    return ids.masked_fill(torch.arange(length) > ply[:, None], PAD)


def _agree(player: Player, games: Games, pairs: Pairs, epsilon: float) -> Agreement:
    logits = last_logits(player, histories(games, pairs.flatten(0, 1)))
    one, other = logits.softmax(-1).unflatten(0, (-1, 2)).unbind(1)
    top = one.argmax(-1) == other.argmax(-1)
    distance = (one - other).abs().sum(-1) / 2
    a, b = (chances(logits) > epsilon).unflatten(0, (-1, 2)).unbind(1)
    union = (a | b).sum(-1)
    overlap = ((a & b).sum(-1) / union.clamp(min=1)).where(union > 0, 1.0)
    ply = pairs[:, 0, 1].long()
    blank = _nothing()
    columns = (torch.ones_like(ply), top.long(), distance.double(), overlap.double())
    return Agreement(*(zero.index_add(0, ply, x) for zero, x in zip(blank, columns, strict=True)))


def _equal(games: Games, drawn: Tensor, plies: Tensor) -> Tensor:
    rows = Games(games.moves[drawn.flatten()], games.origin).replay_table()
    at = (torch.arange(drawn.numel()), plies.repeat_interleave(2))
    planes = [plane[at].unflatten(0, (-1, 2)) for plane in (rows.mine, rows.theirs, rows.black)]
    return torch.stack([plane[:, 0] == plane[:, 1] for plane in planes]).all(0)


def _nothing() -> Agreement:
    whole = torch.zeros(CONTEXT, dtype=torch.int64)
    real = torch.zeros(CONTEXT, dtype=torch.float64)
    return Agreement(whole, whole, real, real)
