"""Sets of games as a researcher questions them: repeats, overlap, openings, skewed sets.

A game can be turned. Of the 8 symmetries of the square only 4 keep the start position as it is:
numbers 0, 3, 4 and 7 (nothing, half a turn, and the mirrors in the two long diagonals). The other 4
exchange the colours of the start, and take Black's first moves c4, d3, e6, f5 to c5, d6, e3, f4,
where he cannot play: a game under one of them is never a game. So "up to symmetry" means up to
these 4, and nothing is missed by leaving out the rest. The 4 take each of Black's first moves to
each other one exactly once, so that every game has exactly one form that begins with f5.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int8, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from .bitboards import Bits
from .boards import transform_squares
from .distinct import first_equal, words
from .games import Games, IllegalMoveError
from .records import parse_game
from .squares import MAX_PLIES, NO_MOVE, name, parse

KEEP_START = (0, 3, 4, 7)
"""The symmetries (see `boards.SYMMETRIES`) that take games to games."""
_CHUNK = 8192


@dataclass(frozen=True)
class Census:
    """What a set of games holds, in numbers of games."""

    games: int
    repeats: int
    """Games that are the same, move for move, as an earlier one."""
    repeats_turned: int
    """Games that are the same as an earlier one up to symmetry; `repeats` among them."""
    with_pass: int
    """Games in which somebody had to pass."""
    short: int
    """Games that end before move 60."""

    def share(self, number: int) -> float:
        """Out of all games, 0 of none: `census.share(census.with_pass)`."""
        return number / self.games if self.games else 0.0


@dataclass(frozen=True)
class Overlap:
    """How far the games of one set also stand in another."""

    train: Census
    other: Census
    exact: Bool[Tensor, " game"]
    """Games of `other` that stand in `train`, move for move."""
    turned: Bool[Tensor, " game"]
    """Games of `other` that stand in `train` up to symmetry; `exact` among them."""

    def __str__(self) -> str:
        found, turned = int(self.exact.sum()), int(self.turned.sum())
        rows = [
            f"{found} of {self.other.games} games also stand among the {self.train.games}"
            f" ({self.other.share(found):.3%}), {turned} up to symmetry"
            f" ({self.other.share(turned):.3%})"
        ]
        for which, one in (("train", self.train), ("other", self.other)):
            rows.append(
                f"{which}: {one.repeats} repeats ({one.repeats_turned} up to symmetry),"
                f" {one.share(one.with_pass):.1%} with a pass, {one.share(one.short):.1%} short"
            )
        return "\n".join(rows)


@dataclass(frozen=True)
class Openings:
    """Every beginning of a length, the commonest first, equally common ones in order of squares."""

    moves: Int8[Tensor, "opening ply"]
    count: Int64[Tensor, " opening"]
    """How many games begin so."""
    games: int
    """How many games there were, those among them that are too short."""

    def __len__(self) -> int:
        return len(self.count)

    def share(self) -> Float[Tensor, " opening"]:
        """Out of all games, those among them that are too short."""
        return self.count.double() / max(self.games, 1)

    def names(self) -> list[str]:
        """As players write them: "f5d6c3"."""
        return ["".join(name(square) for square in row) for row in self.moves.tolist()]


def turned_to_f5(games: Games) -> Games:
    """Each game under the symmetry that makes f5 its first move.

    Two games are the same up to symmetry just when these are equal.

    Raises:
        InputError: a game begins where Black cannot.
    """
    moves, table = games.moves.numpy().view(np.uint8), _turned_squares()
    first = moves[:, :1]
    bad = np.flatnonzero((first != np.uint8(255)) & (table[first, 0] == NO_MOVE))
    if len(bad):
        raise InputError(
            f"game {bad[0]} begins with square {games.moves[bad[0], 0]}, but Black can only begin"
            " with c4, d3, e6 or f5: load games with load_games, which checks them"
        )
    cuts = range(_CHUNK, len(moves), _CHUNK)
    parts = [table[part[:, :1], part] for part in np.split(moves, cuts)]
    return Games(torch.from_numpy(np.concatenate(parts)), f"{games.origin} turned to f5")


def census(games: Games) -> Census:
    """Count repeats, passes and short games.

    Memory: about 300 bytes a game, and one chunk of replayed games.

    Raises:
        IllegalMoveError: a game breaks the rules.
    """
    passes = [_has_pass(games[at : at + _CHUNK]) for at in range(0, len(games), _CHUNK)]
    return Census(
        games=len(games),
        repeats=_repeats(games),
        repeats_turned=_repeats(turned_to_f5(games)),
        with_pass=sum(int(part.sum()) for part in passes),
        short=int((games.lengths() < MAX_PLIES).sum()),
    )


def overlap(train: Games, other: Games) -> Overlap:
    """Which games of `other` also stand in `train`, exactly and up to symmetry.

    Games are found by hash and compared move for move: a collision never counts.
    Memory: about 300 bytes a game of both.

    Raises:
        IllegalMoveError: a game breaks the rules.
    """
    censuses = census(train), census(other)
    turned = _known(turned_to_f5(train), turned_to_f5(other))
    return Overlap(*censuses, exact=_known(train, other), turned=turned)


def split(games: Games, shares: Sequence[float], *, seed: int) -> list[Games]:
    """Cut a set by game, games that are the same up to symmetry always on the same side.

    Args:
        games: what to cut.
        shares: of each part, e.g. (0.9, 0.1); positive, together 1.
        seed: of the draw.

    Returns:
        The parts, each with its games in their old order. `share_games` knows them apart.

    Raises:
        InputError: the shares do not add up; a game begins where Black cannot.
    """
    if min(shares, default=0) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise InputError(f"the shares of a split are positive and add up to 1, not {list(shares)}")
    kind = first_equal(_lists(turned_to_f5(games)))
    draw = np.random.default_rng(seed).random(len(games))[kind]
    part = np.searchsorted(np.cumsum(shares)[:-1], draw, side="right")
    how = f"{' '.join(map(str, shares))} seed={seed}"
    return [
        Games(games.moves[torch.from_numpy(part == i)], f"{games.origin} part {i} of {how}")
        for i in range(len(shares))
    ]


def skewed(games: Games, first_moves: str | Sequence[str]) -> Games:
    """The games that do not open with any of some moves.

    Args:
        games: what to choose from.
        first_moves: what to leave out: a first move ("c4"), a longer beginning ("f5d6"), or
            several such. As for the skewed set of Li et al. (2023), arXiv:2210.13382.

    Raises:
        InputError: a beginning is empty or against the rules, so that no game could open with it.
    """
    out = [first_moves] if isinstance(first_moves, str) else list(first_moves)
    moves = games.moves.numpy()
    keep = np.ones(len(games), dtype=np.bool_)
    for text in out:
        keep &= ~_opens_with(moves, _beginning(text))
    kept = torch.from_numpy(moves[keep])
    return Games(kept, f"{games.origin} without {', '.join(out)}" if out else games.origin)


def openings(games: Games, plies: int, *, symmetric: bool = False) -> Openings:
    """Every beginning of `plies` moves, with how many games begin so.

    Memory: about 100 bytes a game.

    Args:
        games: what to count; shorter games have no such beginning.
        plies: moves, 1 to 60.
        symmetric: turn each game first, so that f5 is its first move.

    Raises:
        InputError: no such number of moves; with `symmetric`, a game begins where Black cannot.
    """
    if not 1 <= plies <= MAX_PLIES:
        raise InputError(f"an opening has 1 to {MAX_PLIES} moves, not {plies}")
    begun = (turned_to_f5(games) if symmetric else games).moves[:, :plies]
    begun = begun[games.lengths() >= plies] if begun.shape[1] == plies else begun[:0]
    first, count = np.unique(first_equal(words(begun)), return_counts=True)
    found = begun[torch.from_numpy(first)]
    order = np.lexsort((*words(found).T[::-1], -count))
    return Openings(found[order], torch.from_numpy(count[order]), len(games))


def _turned_squares() -> NDArray[np.int8]:
    """[first move, square], both as uint8, so that 255 is no move: the square after the turn.

    Where Black cannot begin so, -1 throughout.
    """
    table = np.full((256, 256), NO_MOVE, dtype=np.int8)
    for symmetry in KEEP_START:
        target = transform_squares(symmetry)
        table[np.flatnonzero(target == parse("f5"))[0], :64] = target
    return table


def _lists(games: Games) -> Bits:
    """[game, 8 words], whatever the width of `games.moves`."""
    found = words(games.moves[:, :MAX_PLIES])
    return np.pad(found, ((0, 0), (0, 8 - found.shape[1])))


def _repeats(games: Games) -> int:
    return int((first_equal(_lists(games)) != np.arange(len(games))).sum())


def _known(train: Games, other: Games) -> Bool[Tensor, " game"]:
    first = first_equal(np.concatenate([_lists(train), _lists(other)]))
    return torch.from_numpy(first[len(train) :] < len(train))


def _has_pass(games: Games) -> Bool[Tensor, " game"]:
    """Whether somebody moved twice running."""
    follows = games.replay_table().black[:, :-1]
    movers = torch.cat([torch.ones(len(games), 1, dtype=torch.bool), follows], 1)
    again = (movers[:, 1:] == movers[:, :-1]) & (games.moves[:, 1:] != NO_MOVE)
    return again.any(1)


def _beginning(text: str) -> NDArray[np.int8]:
    """The squares of a beginning that a game can have."""
    squares = np.array([parse_game(text)], dtype=np.int8)
    if not squares.size:
        raise InputError('an opening is empty: write its moves, as in "c4" or "f5d6"')
    try:
        Games(torch.from_numpy(squares), text).replay_table()
    except IllegalMoveError as error:
        raise InputError(f"no game can open with {text!r}: {error}") from None
    return squares[0]


def _opens_with(moves: NDArray[np.int8], squares: NDArray[np.int8]) -> NDArray[np.bool_]:
    if moves.shape[1] < len(squares):
        return np.zeros(len(moves), dtype=np.bool_)
    return (moves[:, : len(squares)] == squares).all(1)
