"""Othello, slow and obvious: lists, loops and no arithmetic on bits.

Written from the rules alone; it shares nothing with `othellolens.othello`. A board is a list of
eight rows (digit 1 at the top) of eight signs (letter a at the left): "X" black, "O" white, "."
empty. Square number: 8 * letter + (digit - 1).
"""

import random
from typing import NamedTuple

DIRECTIONS = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]

Board = list[list[str]]


class After(NamedTuple):
    """What is true after a move."""

    mine: set[int]
    theirs: set[int]
    black: bool
    legal: set[int]
    passed: bool


Replayed = list[tuple[list[int], list[After]]]
"""Games, each with what is true after each of its moves."""


def start() -> Board:
    board = [["." for _ in range(8)] for _ in range(8)]
    for square, sign in ((28, "X"), (35, "X"), (27, "O"), (36, "O")):
        board[square % 8][square // 8] = sign
    return board


def board_of(mine: set[int], theirs: set[int]) -> Board:
    """A board on which "X" owns `mine` and "O" owns `theirs`."""
    board = [["." for _ in range(8)] for _ in range(8)]
    for square in mine:
        board[square % 8][square // 8] = "X"
    for square in theirs:
        board[square % 8][square // 8] = "O"
    return board


def discs(board: Board, sign: str) -> set[int]:
    return {
        8 * column + row for row in range(8) for column in range(8) if board[row][column] == sign
    }


def other(sign: str) -> str:
    return "O" if sign == "X" else "X"


def flips(board: Board, square: int, sign: str) -> set[int]:
    """The squares that `sign` turns over by playing on `square`; none where it is not empty."""
    row, column = square % 8, square // 8
    turned: set[int] = set()
    if board[row][column] != ".":
        return turned
    for down, right in DIRECTIONS:
        line = []
        r, c = row + down, column + right
        while 0 <= r < 8 and 0 <= c < 8 and board[r][c] == other(sign):
            line.append(8 * c + r)
            r, c = r + down, c + right
        if 0 <= r < 8 and 0 <= c < 8 and board[r][c] == sign:
            turned.update(line)
    return turned


def legal_moves(board: Board, sign: str) -> set[int]:
    return {square for square in range(64) if flips(board, square, sign)}


def play(board: Board, square: int, sign: str) -> Board:
    turned = flips(board, square, sign)
    if not turned:
        raise ValueError(f"{square} is illegal for {sign}")
    after = [row[:] for row in board]
    for changed in turned | {square}:
        after[changed % 8][changed // 8] = sign
    return after


def replay(moves: list[int]) -> list[After]:
    """The state after each move. The opponent moves next, unless only the mover can."""
    board, sign, rows = start(), "X", []
    for square in moves:
        board = play(board, square, sign)
        following = other(sign)
        passed = not legal_moves(board, following) and bool(legal_moves(board, sign))
        sign = sign if passed else following
        legal = legal_moves(board, sign)
        mine, theirs = discs(board, sign), discs(board, other(sign))
        rows.append(After(mine, theirs, sign == "X", legal, passed))
    return rows


def random_game(chance: random.Random) -> list[int]:
    board, sign, moves = start(), "X", []
    while True:
        legal = legal_moves(board, sign)
        if not legal:
            sign = other(sign)
            legal = legal_moves(board, sign)
        if not legal:
            return moves
        moves.append(chance.choice(sorted(legal)))
        board = play(board, moves[-1], sign)
        sign = other(sign)


def perft(depth: int, board: Board | None = None, sign: str = "X") -> int:
    """Move sequences of `depth` plies; a pass is a ply, a finished game is one leaf."""
    board = board or start()
    if depth == 0:
        return 1
    legal = legal_moves(board, sign)
    if legal:
        return sum(perft(depth - 1, play(board, square, sign), other(sign)) for square in legal)
    if legal_moves(board, other(sign)):
        return perft(depth - 1, board, other(sign))
    return 1


def squares(text: str) -> list[int]:
    """ "f5d6" as [44, 29]."""
    pairs = [text[i : i + 2] for i in range(0, len(text), 2)]
    return [8 * "abcdefgh".index(letter) + int(digit) - 1 for letter, digit in pairs]


WIPE_OUT = squares("e6f4e3f6g5d6e7f5c5")
"""The shortest games have nine moves; after this one no white disc is left."""
EARLY_PASS = squares("f5f6d3g5h5h4g7h6e7f7")
"""After the eighth move (h6, White's) Black has no move, so White plays e7 as well."""
