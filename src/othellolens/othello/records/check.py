"""Recorded games under the rules: every game that breaks them is found, and why."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..games import Games, IllegalMoveError, Table
from ..squares import NO_MOVE, name
from .record import UNREADABLE, Ends, Fault, Raw

OPENINGS = (19, 26, 37, 44)
"""c4, d3, e6, f5: Black's first moves."""
CHUNK = 8192
_BLOCK = 1024
_HALVINGS = 4
_OPENINGS = np.array([sum(1 << square for square in OPENINGS)], dtype=np.uint64)

Bits = NDArray[np.uint64]


class Checked(NamedTuple):
    """One chunk of games: which are legal, how these end, and what is wrong with the others."""

    good: NDArray[np.intp]
    """Numbers of the legal games."""
    ends: Ends
    """Of the legal games."""
    faults: dict[int, Fault]
    """Of the others, by number, in order."""


def ends(games: Games) -> Ends:
    """Passes and discs of games that are known to be legal.

    Raises:
        IllegalMoveError: they are not.
    """
    tables = [(one.moves.numpy(), one.replay_table()) for one in _chunks(games)]
    return join([_ends(moves, table) for moves, table in tables])


def check(raw: Raw) -> Iterator[Checked]:
    """Replay a file's games, chunk after chunk.

    A chunk without a fault costs one replay. Where there is one, its blocks are replayed up to each
    ply with a fault, so that a chunk costs at most some sixty replays however many are illegal.
    """
    passes = np.array(raw.passes, dtype=np.int64).reshape(-1, 2)
    passes = passes[np.argsort(passes[:, 0], kind="stable")]
    for first in range(0, len(raw.moves), CHUNK):
        moves = _used(raw.moves[first : first + CHUNK])
        low, high = np.searchsorted(passes[:, 0], (first, first + len(moves)))
        yield _check(raw, first, moves, passes[low:high] - (first, 0))


def join(parts: list[Ends]) -> Ends:
    """One after the other."""
    if not parts:
        none = torch.empty(0, dtype=torch.int64)
        return Ends(none, none.reshape(0, 2), none.bool())
    return Ends(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _used(moves: NDArray[np.int8]) -> NDArray[np.int8]:
    """Without the plies that no game reaches: short games cost less."""
    plies = np.nonzero((moves != NO_MOVE).any(0))[0]
    return moves[:, : plies[-1] + 1 if len(plies) else 1]


def _chunks(games: Games) -> Iterator[Games]:
    for first in range(0, len(games), CHUNK):
        yield games[first : first + CHUNK]


def _check(raw: Raw, first: int, moves: NDArray[np.int8], passes: NDArray[np.int64]) -> Checked:
    faults = {
        row: raw.faults[first + row] for row in range(len(moves)) if first + row in raw.faults
    }
    rows = np.setdiff1d(np.arange(len(moves)), list(faults))
    faults |= {int(rows[row]): fault for row, fault in _illegal(raw, first, moves, rows)}
    good = np.setdiff1d(rows, list(faults))
    table = _table(moves[good])
    wrong = _wrong_passes(good, table, passes)
    if wrong:
        faults |= wrong
        keep = ~np.isin(good, list(wrong))
        good, table = good[keep], Table(*(column[torch.from_numpy(keep)] for column in table))
    ordered = {first + row: faults[row] for row in sorted(faults)}
    return Checked(first + good, _ends(moves[good], table), ordered)


def _illegal(
    raw: Raw, first: int, moves: NDArray[np.int8], rows: NDArray[np.intp]
) -> Iterator[tuple[int, Fault]]:
    """The games among `rows` with a move that the rules forbid, as indices into `rows`."""
    if len(rows) > _BLOCK and _legal(moves[rows]):
        return
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        for row, ply, legal in _sweep(moves[block]):
            where = first + int(block[row]), ply
            yield start + row, Fault(ply, _reason(raw, where, moves[block[row]], legal))


def _legal(moves: NDArray[np.int8]) -> bool:
    try:
        _table(moves)
    except IllegalMoveError:
        return False
    return True


def _table(moves: NDArray[np.int8]) -> Table:
    return Games(torch.from_numpy(np.ascontiguousarray(moves)), "").replay_table()


def _sweep(moves: NDArray[np.int8]) -> Iterator[tuple[int, int, int]]:
    """Every game with an illegal move: its row, the first such ply, what was legal (bits).

    A ply with a fault is found by halving, a few times; where there are more, all plies are judged
    one after the other.
    """
    moves, ply = moves.copy(), -1
    for _ in range(_HALVINGS):
        if _legal(moves):
            return
        ply = _next_fault(moves, ply + 1)
        yield from _judged(moves, ply)
    for later in range(ply + 1, moves.shape[1]):
        yield from _judged(moves, later)


def _judged(moves: NDArray[np.int8], ply: int) -> Iterator[tuple[int, int, int]]:
    """The games whose move of this ply is illegal, where all are legal before it.

    They are cut there, so that they cannot hide the others.
    """
    # After the end of a game nothing is legal: its cells of the table are 0.
    legal = _table(moves[:, :ply]).legal[:, -1].numpy().view(np.uint64) if ply else _OPENINGS
    legal = np.broadcast_to(legal, len(moves))
    square = moves[:, ply].astype(np.int64)
    bit = legal >> np.clip(square, 0, 63).astype(np.uint64) & np.uint64(1)
    bad = (square != NO_MOVE) & ((square < 0) | (square > 63) | (bit == 0))
    yield from ((int(row), ply, int(legal[row])) for row in np.nonzero(bad)[0])
    moves[bad, ply:] = NO_MOVE


def _next_fault(moves: NDArray[np.int8], low: int) -> int:
    """The first ply with an illegal move, where there is one and none before `low`."""
    high = moves.shape[1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _legal(moves[:, :middle]) else (low, middle)
    return low


def _reason(raw: Raw, where: tuple[int, int], game: NDArray[np.int8], legal: int) -> str:
    ply, square = where[1], int(game[where[1]])
    if square == UNREADABLE or not 0 <= square < 64:
        found = square if raw.source is None else raw.source[where]
        return f"{found} is no {raw.unit}"
    if ply and game[ply - 1] == NO_MOVE:
        return f"a move ({name(square)}) stands after the end of the game"
    return f"{name(square)} is illegal here; legal were: {_names(legal)}"


def _names(legal: int) -> str:
    could = " ".join(name(square) for square in range(64) if legal >> square & 1)
    return could or "none, the game is over"


def _forced(table: Table) -> NDArray[np.bool_]:
    """[game, ply + 1]: whether somebody has to pass before a ply, the one after the last included.

    Then the same player moves twice.
    """
    black = table.black.numpy()
    mover = np.concatenate([np.ones((len(black), 1), dtype=np.bool_), black], axis=1)
    forced = np.zeros(mover.shape, dtype=np.bool_)
    forced[:, 1:] = mover[:, 1:] == mover[:, :-1]
    return forced


def _ends(moves: NDArray[np.int8], table: Table) -> Ends:
    rows, lengths = np.arange(len(moves)), (moves != NO_MOVE).sum(1)
    last = np.maximum(lengths - 1, 0)
    mine, theirs = (
        np.bitwise_count(bits.numpy()[rows, last].view(np.uint64)).astype(np.int64)
        for bits in (table.mine, table.theirs)
    )
    black = table.black.numpy()[rows, last]
    discs = np.where(black[:, None], np.stack([mine, theirs], 1), np.stack([theirs, mine], 1))
    discs[lengths == 0] = 2
    over = (table.legal.numpy()[rows, last] == 0) & (lengths > 0)
    passes = (_forced(table)[:, :-1] & (moves != NO_MOVE)).sum(1)
    return Ends(torch.from_numpy(passes), torch.from_numpy(discs), torch.from_numpy(over))


def _wrong_passes(
    good: NDArray[np.intp], table: Table, passes: NDArray[np.int64]
) -> dict[int, Fault]:
    """Legal games in which a pass is written where the player could move, by row of the chunk."""
    forced, after = _forced(table), table.legal.numpy().view(np.uint64)
    faults: dict[int, Fault] = {}
    written, times = np.unique(passes, axis=0, return_counts=True)
    for (row, ply), count in zip(written.tolist(), times.tolist(), strict=True):
        at = int(np.searchsorted(good, row))
        if at == len(good) or good[at] != row or row in faults:
            continue
        legal = int(after[at, ply - 1] if ply else _OPENINGS[0])
        # Once the game is over, both may be said to pass.
        if legal and not (forced[at, ply] and count == 1):
            faults[row] = Fault(ply, f"a pass is written here; legal were: {_names(legal)}")
    return faults
