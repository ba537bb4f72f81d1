"""Squares and the names that people and files give them.

A square is an integer 0..63: `8 * letter + (digit - 1)`, letter a..h, digit 1..8, so f5 is 44.
This is the numbering of the published Othello-GPT data; bit `s` of a bitboard is square `s`.
"""

from typing import Literal

from ..errors import InputError

Notation = Literal["standard", "notebook"]

SQUARES = range(64)
CENTRE = (27, 28, 35, 36)
"""d4, d5, e4, e5: filled at the start, never played."""
PLAYABLE = tuple(square for square in SQUARES if square not in CENTRE)
MAX_PLIES = 60
NO_MOVE = -1
"""Stands in a move list after the last move of a game."""


def name(square: int, notation: Notation = "standard") -> str:
    """The name of a square.

    Args:
        square: 0..63.
        notation: `"standard"` is what players write ("f5" for 44); `"notebook"` is the zero-based
            label of the 2023 Othello-GPT notebooks ("F4" for 44).

    Raises:
        InputError: `square` is not in 0..63.
    """
    if square not in SQUARES:
        raise InputError(f"there is no square {square}: squares are numbered 0 (a1) to 63 (h8)")
    letter, digit = divmod(square, 8)
    if notation == "notebook":
        return f"{'ABCDEFGH'[letter]}{digit}"
    return f"{'abcdefgh'[letter]}{digit + 1}"


def parse(text: str, notation: Notation = "standard") -> int:
    """The square that a name means; the inverse of `name`.

    Standard names are read in either case ("f5", "F5"); notebook labels only as written ("F4").

    Raises:
        InputError: `text` names no square in this notation.
    """
    letters = "ABCDEFGH" if notation == "notebook" else "abcdefgh"
    digits = "01234567" if notation == "notebook" else "12345678"
    written = text if notation == "notebook" else text.lower()
    if len(written) != 2 or written[0] not in letters or written[1] not in digits:
        raise InputError(
            f"{text!r} is not a square in {notation} notation:"
            f" write a letter {letters[0]}-{letters[-1]} and a digit {digits[0]}-{digits[-1]}"
        )
    return 8 * letters.index(written[0]) + digits.index(written[1])
