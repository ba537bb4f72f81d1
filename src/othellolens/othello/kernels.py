"""The rules as compiled loops over boards of one 64-bit word a side: the choke point of all speed.

Many games are played in lockstep, and each step of the rules is one loop over a block of them:
straight-line code on arrays of words is what the compiler turns into vector instructions. Fills are
Kogge-Stone's (https://www.chessprogramming.org/Kogge-Stone_Algorithm). A kernel is compiled when it
is first called and then kept on disk; it releases the GIL, so that threads share out the games.
"""

import numpy as np
from numpy.typing import NDArray

from ..compiled import F, compiled
from .squares import MAX_PLIES

Words = NDArray[np.uint64]

_BLOCK = 256
# Games in lockstep: their boards stay in the first-level cache.


def _inlined(function: F) -> F:
    """For a step of a kernel: a call inside a loop would keep it from being vectorised."""
    return compiled(function, inline=True)


_0, _1, _2, _3, _4, _7, _8, _9, _56 = (np.uint64(n) for n in (0, 1, 2, 3, 4, 7, 8, 9, 56))
_63 = np.uint64(63)
# The outer files end every line that changes the digit: nothing wraps from one letter to the next.
_INNER = np.uint64(0x7E7E_7E7E_7E7E_7E7E)


@_inlined
def _up(start: np.uint64, over: np.uint64, step: np.uint64) -> np.uint64:
    """Squares of `over` reached from `start` in steps towards higher squares, without a gap."""
    run = over & (start << step)
    run |= over & (run << step)
    pairs = over & (over << step)
    two = step + step
    run |= pairs & (run << two)
    return run | (pairs & (run << two))


@_inlined
def _down(start: np.uint64, over: np.uint64, step: np.uint64) -> np.uint64:
    """The same towards lower squares."""
    run = over & (start >> step)
    run |= over & (run >> step)
    pairs = over & (over >> step)
    two = step + step
    run |= pairs & (run >> two)
    return run | (pairs & (run >> two))


@_inlined
def _legal(mine: np.uint64, theirs: np.uint64) -> np.uint64:
    inner = theirs & _INNER
    moves = (_up(mine, inner, _1) << _1) | (_down(mine, inner, _1) >> _1)
    moves |= (_up(mine, inner, _7) << _7) | (_down(mine, inner, _7) >> _7)
    moves |= (_up(mine, theirs, _8) << _8) | (_down(mine, theirs, _8) >> _8)
    moves |= (_up(mine, inner, _9) << _9) | (_down(mine, inner, _9) >> _9)
    return moves & ~(mine | theirs)


@_inlined
def _between(move: np.uint64, mine: np.uint64, over: np.uint64, step: np.uint64) -> np.uint64:
    """Squares of `over` in one line, either way, between `move` and a disc of `mine`."""
    up, down = _up(move, over, step), _down(move, over, step)
    return (up if (up << step) & mine else _0) | (down if (down >> step) & mine else _0)


@_inlined
def _flips(move: np.uint64, mine: np.uint64, theirs: np.uint64) -> np.uint64:
    inner = theirs & _INNER
    straight = _between(move, mine, inner, _1) | _between(move, mine, theirs, _8)
    return straight | _between(move, mine, inner, _7) | _between(move, mine, inner, _9)


@compiled
def legal_moves(mine: Words, theirs: Words, out: Words) -> None:
    """The squares on which the side that owns `mine` may play; all one-dimensional."""
    for i in range(len(out)):
        out[i] = _legal(mine[i], theirs[i])


@compiled
def flipped_by(move: Words, mine: Words, theirs: Words, out: Words) -> None:
    """What a disc of mine on `move` turns over; all one-dimensional."""
    for i in range(len(out)):
        out[i] = _flips(move[i], mine[i], theirs[i])


@compiled
def _pass_if_stuck(mine: Words, theirs: Words, moves: Words, black: NDArray[np.uint8]) -> None:
    """Hand the move over wherever the side to move has none and the other side has."""
    stuck = _0
    for i in range(len(moves)):
        moves[i] = _legal(mine[i], theirs[i])
        stuck |= _1 if moves[i] == _0 else _0
    if stuck:
        for i in range(len(moves)):
            if moves[i] == _0:
                replies = _legal(theirs[i], mine[i])
                if replies:
                    mine[i], theirs[i], moves[i] = theirs[i], mine[i], replies
                    black[i] ^= 1


@compiled
def _make(move: Words, mine: Words, theirs: Words) -> None:
    """Make one move in each game and turn the boards round; where `move` is 0 nothing changes."""
    for i in range(len(move)):
        turned = _flips(move[i], mine[i], theirs[i])
        own = mine[i] | move[i] | turned
        mine[i] = (theirs[i] ^ turned) if move[i] else mine[i]
        theirs[i] = own if move[i] else theirs[i]


_GOLDEN = np.uint64(0x9E37_79B9_7F4A_7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58_476D_1CE4_E5B9), np.uint64(0x94D0_49BB_1331_11EB)
_27, _30, _31, _32 = (np.uint64(n) for n in (27, 30, 31, 32))


@_inlined
def _mix(x: np.uint64) -> np.uint64:
    """The output function of SplitMix64 (Steele, Lea & Flood 2014): a counter into random bits."""
    x = (x ^ (x >> _30)) * _MIX_1
    x = (x ^ (x >> _27)) * _MIX_2
    return x ^ (x >> _31)


_5S, _3S = np.uint64(0x5555_5555_5555_5555), np.uint64(0x3333_3333_3333_3333)
_OCTETS = np.uint64(0x0101_0101_0101_0101)
_LOW, _HIGH = np.uint64(0x0F0F_0F0F_0F0F_0F0F), np.uint64(0x8080_8080_8080_8080)
_15, _255 = np.uint64(15), np.uint64(255)


@_inlined
def _drawn(moves: np.uint64, draw: np.uint64) -> np.uint64:
    """The square of one set bit: which of them, `draw` (32 random bits) says.

    With n bits it is number (draw * n) >> 32, counted from 0, and is found by partial counts.
    """
    pairs = moves - ((moves >> _1) & _5S)
    nibbles = (pairs & _3S) + ((pairs >> _2) & _3S)
    sums = ((nibbles + (nibbles >> _4)) & _LOW) * _OCTETS
    rank = (draw * (sums >> _56)) >> _32
    # Octets whose running sum is at most the rank lie wholly before the bit.
    before = ((((rank * _OCTETS) | _HIGH) - sums) & _HIGH) >> _7
    square = ((before * _OCTETS) >> _56) << _3
    rank -= ((sums << _8) >> square) & _255
    low = (nibbles >> square) & _15
    above = rank >= low
    rank -= low if above else _0
    square += _4 if above else _0
    low = (pairs >> square) & _3
    above = rank >= low
    rank -= low if above else _0
    square += _2 if above else _0
    return square + (_1 if rank >= ((moves >> square) & _1) else _0)


@compiled
def play(first: np.uint64, seed: np.uint64, start: Words, out: NDArray[np.int8]) -> None:
    """Games number `first`, `first + 1`, ... of a seed, uniformly at random.

    Args:
        first: number of the first game.
        seed: which endless list of games.
        start: the discs of Black and of White at the start.
        out: [game, 60], filled with squares, -1 after the end of a game.
    """
    whole_mine, whole_theirs = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    whole_moves, whole_stream = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    black, told = np.empty(_BLOCK, np.uint8), np.empty((MAX_PLIES, _BLOCK), np.int8)
    key = _mix(seed)
    for begin in range(0, len(out), _BLOCK):
        n = min(_BLOCK, len(out) - begin)
        mine, theirs = whole_mine[:n], whole_theirs[:n]
        moves, stream = whole_moves[:n], whole_stream[:n]
        for i in range(n):
            mine[i], theirs[i] = start[0], start[1]
            stream[i] = _mix(key + (first + np.uint64(begin + i)) * _GOLDEN)
        for ply in range(MAX_PLIES):
            _pass_if_stuck(mine, theirs, moves, black)
            turn = np.uint64(ply) * _GOLDEN
            for i in range(n):
                square = _drawn(moves[i], _mix(stream[i] + turn) >> _32)
                told[ply, i] = np.int8(square) if moves[i] else np.int8(-1)
                moves[i] &= _1 << (square & _63)
            _make(moves, mine, theirs)
        for i in range(n):
            for ply in range(MAX_PLIES):
                out[begin + i, ply] = told[ply, i]


@compiled
def replay(
    games: NDArray[np.int8],
    rows: NDArray[np.int64],
    table: bool,
    start: Words,
    out: Words,
    out_black: NDArray[np.bool_],
) -> int:
    """The board after every move, seen by the side that moves next by the rules.

    Args:
        games: [game, ply] squares, -1 after the end.
        rows: [game], the row of the outputs at which a game begins; one row a move.
        table: write zeros for the plies after the end of a game, instead of nothing.
        start: the discs of Black and of White at the start.
        out: [3, row], discs of the side to move, discs of the other, legal moves.
        out_black: [row], whether the side to move is Black.

    Returns:
        game * plies + ply of the first illegal move of the first block that has one, or -1.
    """
    count, plies = games.shape
    whole_mine, whole_theirs = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    whole_move, whole_legal = np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.uint64)
    whole_black, over = np.empty(_BLOCK, np.uint8), np.empty(_BLOCK, np.uint64)
    # What goes out is gathered by ply and written game by game: one stream, not one a game.
    told, boards = np.empty((plies, _BLOCK), np.int8), np.empty((3, plies, _BLOCK), np.uint64)
    sides = np.empty((plies, _BLOCK), np.uint8)
    for begin in range(0, count, _BLOCK):
        n = min(_BLOCK, count - begin)
        mine, theirs = whole_mine[:n], whole_theirs[:n]
        move, legal, black = whole_move[:n], whole_legal[:n], whole_black[:n]
        for i in range(n):
            mine[i], theirs[i], black[i], over[i] = start[0], start[1], 1, _0
            for ply in range(plies):
                told[ply, i] = games[begin + i, ply]
        legal_moves(mine, theirs, legal)
        for ply in range(plies):
            if _read(told[ply], legal, over, move, black):
                return (begin + _first_wrong(told[: ply + 1], legal)) * plies + ply
            _make(move, mine, theirs)
            _pass_if_stuck(mine, theirs, legal, black)
            for i in range(n):
                boards[0, ply, i], boards[1, ply, i] = mine[i], theirs[i]
                boards[2, ply, i] = legal[i]
            for i in range(n):
                sides[ply, i] = black[i]
        for i in range(n):
            for ply in range(plies):
                row = rows[begin + i] + ply
                if told[ply, i] >= 0:
                    for part in range(3):
                        out[part, row] = boards[part, ply, i]
                    out_black[row] = sides[ply, i] != 0
                elif table:
                    for part in range(3):
                        out[part, row] = _0
                    out_black[row] = False
    return -1


@_inlined
def _read(
    told: NDArray[np.int8], legal: Words, over: Words, move: Words, black: NDArray[np.uint8]
) -> bool:
    """The moves of one ply as bits, 0 after the end of a game; whether one of them is wrong."""
    wrong = _0
    for i in range(len(move)):
        square = np.uint64(told[i])
        ended = _1 if told[i] == -1 else _0
        move[i] = (_1 << (square & _63)) if square <= _63 else _0
        good = _1 if move[i] & legal[i] else _0
        wrong |= (ended ^ _1) & (over[i] | (good ^ _1))
        over[i] |= ended
    for i in range(len(move)):
        black[i] ^= np.uint8(told[i] >= 0)
    return wrong != _0


@compiled
def _first_wrong(told: NDArray[np.int8], legal: Words) -> int:
    """The game of a block that cannot go on as `told` [ply, game] says in its last row."""
    last = len(told) - 1
    for i in range(len(legal)):
        square, ended = told[last, i], False
        for ply in range(last):
            ended |= told[ply, i] == -1
        fits = 0 <= square < 64 and (legal[i] >> np.uint64(square)) & _1
        if square != -1 and (ended or not fits):
            return i
    return -1


@compiled
def labels(mine: Words, theirs: Words, out: NDArray[np.int8]) -> None:
    """[position, 64]: 0 mine, 1 theirs, 2 empty."""
    for i in range(len(out)):
        for s in range(64):
            square = np.uint64(s)
            taken = ((mine[i] >> square) & _1) + ((mine[i] | theirs[i]) >> square & _1)
            out[i, s] = np.int8(2) - np.int8(taken)


@compiled
def perft(mine: np.uint64, theirs: np.uint64, depth: int) -> int:
    """Leaves below a position; a pass counts as a ply, a finished game as one leaf for good."""
    moves = _legal(mine, theirs)
    if moves == _0:
        if _legal(theirs, mine) == _0 or depth == 1:
            return 1
        return perft(theirs, mine, depth - 1)
    count = 0
    while moves:
        move = moves & (~moves + _1)
        moves ^= move
        if depth == 1:
            count += 1
        else:
            turned = _flips(move, mine, theirs)
            count += perft(theirs ^ turned, mine | move | turned, depth - 1)
    return count
