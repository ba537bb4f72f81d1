"""Games: many move lists at once; uniformly random play; replay into boards."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int8, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..errors import InputError
from . import bitboards
from .boards import Boards, to_bits, to_tensor
from .squares import MAX_PLIES, NO_MOVE, name
from .workers import shared_out

_RANDOM = re.compile(r"random seed=(-?\d+) games=(\d+)\.\.(\d+)")
_PART = re.compile(r"(.*) part (\d+) of (.*)")
_CHUNK = 8192
# Games that a thread plays at a time.


class IllegalMoveError(InputError):
    """A move list that breaks the rules: which game, which ply, which square, what was legal."""


@dataclass(frozen=True)
class Games:
    """Move lists. Passes are implicit, as in every game record."""

    moves: Int8[Tensor, "game ply"]
    """Squares 0..63; -1 after the end of a game."""
    origin: str
    """Where the games are from: the seed and range, or the hash of the file."""

    def __len__(self) -> int:
        return len(self.moves)

    def __getitem__(self, rows: slice) -> "Games":
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InputError("games are cut in one piece: use games[start:stop]")
        cut = f"{self.origin}[{start}:{stop}]"
        if whole := _RANDOM.fullmatch(self.origin):
            seed, first, _ = map(int, whole.groups())
            cut = random_origin(seed, first + start, max(stop - start, 0))
        return Games(self.moves[start:stop], cut)

    @staticmethod
    def cat(parts: list["Games"]) -> "Games":
        """One list after the other; neighbouring ranges of one seed count as one range."""
        moves = torch.cat([part.moves for part in parts]) if parts else torch.empty(0, MAX_PLIES)
        return Games(moves.to(torch.int8), join_origins([part.origin for part in parts]))

    def lengths(self) -> Int64[Tensor, " game"]:
        """Number of moves of each game."""
        return (self.moves != NO_MOVE).sum(1)

    def replay(self) -> Boards:
        """Every position of every game, one row a move, games in order.

        Raises:
            IllegalMoveError: a move that the side to move could not make.
        """
        lengths = self.lengths()
        ends = lengths.cumsum(0)
        table = _replay(self.moves, ends - lengths, int(lengths.sum()), table=False)
        game = torch.arange(len(self)).repeat_interleave(lengths)
        ply = torch.arange(len(game)) - (ends - lengths)[game]
        at = torch.stack([game, ply], 1).to(torch.int32)
        return Boards(table.mine, table.theirs, at, table.black)

    def replay_table(self) -> "Table":
        """The same with the axes game and ply kept; cells after the end of a game are 0."""
        shape = self.moves.shape
        rows = torch.arange(len(self)) * shape[1]
        flat = _replay(self.moves, rows, self.moves.numel(), table=True)
        return Table(*(x.unflatten(0, shape) for x in flat))


class Table(NamedTuple):
    """Replayed games, axes [game, ply] (or one axis of rows); row (g, t) as in `Boards`."""

    mine: Tensor
    theirs: Tensor
    legal: Tensor
    black: Tensor


def join_origins(origins: list[str]) -> str:
    """Where games put behind each other are from; neighbouring random ranges become one."""
    return _joined(origins) or " + ".join(dict.fromkeys(origins))


def next_game(origin: str, seed: int) -> int:
    """The first number of the endless list `seed` behind all games that `origin` speaks of."""
    found = (_RANDOM.fullmatch(part) for part in origin.split(" + "))
    return max((int(one[3]) for one in found if one and int(one[1]) == seed), default=0)


def _joined(origins: list[str]) -> str | None:
    found = [_RANDOM.fullmatch(origin) for origin in origins]
    ranges = [tuple(map(int, one.groups())) for one in found if one]
    if not ranges or len(ranges) != len(origins) or len({r[0] for r in ranges}) > 1:
        return None
    if any(a[2] != b[1] for a, b in pairwise(ranges)):
        return None
    return random_origin(ranges[0][0], ranges[0][1], ranges[-1][2] - ranges[0][1])


def random_games(count: int, *, seed: int, first: int = 0) -> Games:
    """Games played uniformly at random over the legal moves.

    Game number i of a seed is always the same game, whatever the batch that it is made in, so
    `random_games(n, seed=s, first=k)` are games k..k+n-1 of one endless list.

    Args:
        count: how many games.
        seed: which endless list.
        first: number of the first game.

    Returns:
        Games with moves int8 [count, 60].

    Raises:
        InputError: `count` or `first` is negative.
    """
    if count < 0 or first < 0:
        raise InputError(f"count and first must not be negative: got {count} and {first}")
    from . import kernels

    moves = np.empty((count, MAX_PLIES), dtype=np.int8)
    key, start = np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF), bitboards.start()
    shared_out(
        lambda i, j: kernels.play(np.uint64(first + i), key, start, moves[i:j]), count, _CHUNK
    )
    return Games(torch.from_numpy(moves), random_origin(seed, first, count))


def random_origin(seed: int, first: int, count: int) -> str:
    """What `Games.origin` says of random games."""
    return f"random seed={seed} games={first}..{first + count}"


def share_games(one: str, other: str) -> bool:
    """Whether two origins name some of the same random games; of files nothing is known."""
    parts = [_PART.fullmatch(origin) for origin in (one, other)]
    if parts[0] and parts[1] and parts[0][1] == parts[1][1] and parts[0][3] == parts[1][3]:
        return parts[0][2] == parts[1][2]
    a, b = ([tuple(map(int, r)) for r in _RANDOM.findall(origin)] for origin in (one, other))
    return any(r[0] == q[0] and r[1] < q[2] and q[1] < r[2] for r in a for q in b)


def random_batches(batch: int, *, seed: int, first: int = 0) -> Iterator[Games]:
    """An endless stream of batches of random games, starting at game number `first`."""
    while True:
        yield random_games(batch, seed=seed, first=first)
        first += batch


def _replay(moves: Tensor, rows: Tensor, total: int, *, table: bool) -> Table:
    """Replay into `total` rows, game g from row `rows[g]` on."""
    from . import kernels

    games, first = moves.numpy(), rows.numpy()
    out, black = np.empty((3, total), np.uint64), np.empty(total, np.bool_)
    start = bitboards.start()
    found = shared_out(
        lambda i, j: (i, kernels.replay(games[i:j], first[i:j], table, start, out, black)),
        len(games),
        _CHUNK,
    )
    for begin, bad in found:
        if bad >= 0:
            raise _illegal(games, begin + bad // games.shape[1], bad % games.shape[1])
    mine, theirs, legal = map(to_tensor, out)
    return Table(mine, theirs, legal, torch.from_numpy(black))


def _illegal(games: NDArray[np.int8], game: int, ply: int) -> IllegalMoveError:
    square = int(games[game, ply])
    where = f"game {game}, ply {ply}"
    if (games[game, :ply] == NO_MOVE).any():
        return IllegalMoveError(f"{where}: a move ({square}) stands after the end (-1) of the game")
    if not 0 <= square < 64:
        return IllegalMoveError(f"{where}: {square} is not a square (0..63)")
    before = Games(torch.from_numpy(games[game : game + 1, :ply]), "").replay_table()
    start = bitboards.legal_moves(*(bitboards.start()[i : i + 1] for i in (0, 1)))
    legal = to_bits(before.legal[0, -1:]) if ply else start
    could = " ".join(name(int(s)) for s in np.flatnonzero(bitboards.unpack(legal)))
    return IllegalMoveError(
        f"{where}: {name(square)} is illegal here; legal were: {could or 'none, the game is over'}"
    )
