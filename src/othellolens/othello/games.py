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
from .bitboards import START_BLACK, START_WHITE, Bits
from .boards import Boards, to_tensor
from .squares import MAX_PLIES, NO_MOVE, name

_RANDOM = re.compile(r"random seed=(-?\d+) games=(\d+)\.\.(\d+)")
_CHUNK = 8192
# Games in lockstep: one chunk's bitboards stay in the second-level cache.


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
        origins = [part.origin for part in parts]
        whole = _joined(origins) or " + ".join(dict.fromkeys(origins))
        return Games(moves.to(torch.int8), whole)

    def lengths(self) -> Int64[Tensor, " game"]:
        """Number of moves of each game."""
        return (self.moves != NO_MOVE).sum(1)

    def replay(self) -> Boards:
        """Every position of every game, one row a move, games in order.

        Raises:
            IllegalMoveError: a move that the side to move could not make.
        """
        table = self.replay_table()
        keep = self.moves != NO_MOVE
        at = keep.nonzero().to(torch.int32)
        return Boards(table.mine[keep], table.theirs[keep], at, table.black[keep])

    def replay_table(self) -> "Table":
        """The same with the axes game and ply kept; cells after the end of a game are 0."""
        moves = self.moves.numpy()
        parts = [
            _replay(moves[first : first + _CHUNK], first) for first in range(0, len(self), _CHUNK)
        ] or [_replay(moves, 0)]
        mine, theirs, legal, black = (np.concatenate(x) for x in zip(*parts, strict=True))
        return Table(to_tensor(mine), to_tensor(theirs), to_tensor(legal), torch.from_numpy(black))


class Table(NamedTuple):
    """Replayed games, axes [game, ply]; row (g, t) as in `Boards`."""

    mine: Tensor
    theirs: Tensor
    legal: Tensor
    black: Tensor


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
    """
    if count < 0 or first < 0:
        raise InputError(f"count and first must not be negative: got {count} and {first}")
    moves = np.empty((count, MAX_PLIES), dtype=np.int8)
    for start in range(0, count, _CHUNK):
        numbers = np.arange(first + start, first + min(start + _CHUNK, count), dtype=np.uint64)
        moves[start : start + _CHUNK] = _play(numbers, seed)
    return Games(torch.from_numpy(moves), random_origin(seed, first, count))


def random_origin(seed: int, first: int, count: int) -> str:
    """What `Games.origin` says of random games."""
    return f"random seed={seed} games={first}..{first + count}"


def share_games(one: str, other: str) -> bool:
    """Whether two origins name some of the same random games; of files nothing is known."""
    a, b = ([tuple(map(int, r)) for r in _RANDOM.findall(origin)] for origin in (one, other))
    return any(r[0] == q[0] and r[1] < q[2] and q[1] < r[2] for r in a for q in b)


def random_batches(batch: int, *, seed: int, first: int = 0) -> Iterator[Games]:
    """An endless stream of batches of random games, starting at game number `first`."""
    while True:
        yield random_games(batch, seed=seed, first=first)
        first += batch


def _play(numbers: Bits, seed: int) -> NDArray[np.int8]:
    mine = np.full(len(numbers), START_BLACK)
    theirs = np.full(len(numbers), START_WHITE)
    moves = np.full((len(numbers), MAX_PLIES), NO_MOVE, dtype=np.int8)
    key = _mix(np.full(1, seed & 0xFFFF_FFFF_FFFF_FFFF, dtype=np.uint64))
    stream = _mix(key + numbers * _GOLDEN)
    steps = np.arange(MAX_PLIES, dtype=np.uint64) * _GOLDEN
    for ply in range(MAX_PLIES):
        legal, mine, theirs = _pass_if_stuck(mine, theirs)
        alive = legal != 0
        if not alive.any():
            break
        draw = _mix(stream + steps[ply]) >> np.uint64(32)
        rank = (draw * bitboards.count(legal)) >> np.uint64(32)
        square = bitboards.pick(legal, rank)
        # Where nothing is legal the move is no bit at all, and nothing changes but the names.
        move = np.where(alive, np.uint64(1) << (square & np.uint64(63)), np.uint64(0))
        moves[:, ply] = np.where(alive, square.astype(np.int8), NO_MOVE)
        mine, theirs = _after(move, mine, theirs)
    return moves


def _after(move: Bits, mine: Bits, theirs: Bits) -> tuple[Bits, Bits]:
    """The board after a move, seen by the opponent of the mover."""
    flips = bitboards.flipped_by(move, mine, theirs)
    return theirs ^ flips, mine | move | flips


def _pass_if_stuck(mine: Bits, theirs: Bits) -> tuple[Bits, Bits, Bits]:
    """Legal moves and the board, seen by the side that really moves; a finished game stays."""
    legal = bitboards.legal_moves(mine, theirs)
    stuck = legal == 0
    if not stuck.any():
        return legal, mine, theirs
    replies = np.zeros_like(legal)
    replies[stuck] = bitboards.legal_moves(theirs[stuck], mine[stuck])
    swap = stuck & (replies != 0)
    return (
        np.where(swap, replies, legal),
        np.where(swap, theirs, mine),
        np.where(swap, mine, theirs),
    )


def _replay(moves: NDArray[np.int8], first: int) -> tuple[Bits, Bits, Bits, NDArray[np.bool_]]:
    count, plies = moves.shape
    mine, theirs = np.full(count, START_BLACK), np.full(count, START_WHITE)
    black = np.ones(count, dtype=np.bool_)
    legal = bitboards.legal_moves(mine, theirs)
    out_mine, out_theirs, out_legal = (np.zeros((count, plies), dtype=np.uint64) for _ in range(3))
    out_black = np.zeros((count, plies), dtype=np.bool_)
    ended = np.zeros(count, dtype=np.bool_)
    for ply in range(plies):
        square = moves[:, ply]
        played = square != NO_MOVE
        move = np.where(played, np.uint64(1) << (square.astype(np.uint64) & np.uint64(63)), 0)
        bad = played & (ended | (square < 0) | (square > 63) | ((move & legal) == 0))
        if bad.any():
            raise _illegal(int(np.argmax(bad)), ply, moves, legal, ended, first)
        ended |= ~played
        next_mine, next_theirs = _after(move, mine, theirs)
        legal, seen_mine, seen_theirs = _pass_if_stuck(next_mine, next_theirs)
        passed = seen_mine != next_mine
        black = np.where(played, black == passed, black)
        mine, theirs = seen_mine, seen_theirs
        out_mine[:, ply] = np.where(played, mine, 0)
        out_theirs[:, ply] = np.where(played, theirs, 0)
        out_legal[:, ply] = np.where(played, legal, 0)
        out_black[:, ply] = black & played
    return out_mine, out_theirs, out_legal, out_black


def _illegal(
    row: int,
    ply: int,
    moves: NDArray[np.int8],
    legal: Bits,
    ended: NDArray[np.bool_],
    first: int,
) -> IllegalMoveError:
    square = int(moves[row, ply])
    where = f"game {first + row}, ply {ply}"
    if ended[row]:
        return IllegalMoveError(f"{where}: a move ({square}) stands after the end (-1) of the game")
    if not 0 <= square < 64:
        return IllegalMoveError(f"{where}: {square} is not a square (0..63)")
    could = " ".join(name(int(s)) for s in np.nonzero(bitboards.unpack(legal[row : row + 1]))[1])
    return IllegalMoveError(
        f"{where}: {name(square)} is illegal here; legal were: {could or 'none, the game is over'}"
    )


_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)


def _mix(x: Bits) -> Bits:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014): a counter into random bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return x ^ (x >> np.uint64(31))
