"""Plain move text: one game a line, as players write it ("f5d6c3...", "F5 d6 -- c3").

A pass may be written ("--", "pa", "pass") or left out; a written one is checked by replay. What
players write nobody has put down as a standard; this is what move lists on the web look like.
"""

import codecs
import re
from pathlib import Path

import torch

from ...errors import InputError
from ..games import Games
from ..squares import MAX_PLIES, NO_MOVE, SQUARES, name, parse
from .record import Fault, Raw, rows_of

NAMES = [name(square) for square in SQUARES]
_SQUARE_OF = {name: square for square, name in enumerate(NAMES)}
_ONLY_MOVES = re.compile(r"(?:[a-h][1-8])*")
_ITEM = re.compile(r"([a-h][1-8])|pass|pa|--")
_LINE_END = re.compile(r"\r\n|\r|\n")


def parse_game(text: str) -> list[int]:
    """The squares of one game in standard notation, e.g. "f5d6c3" or "f5 d6 -- c3".

    Passes may be written; they are left out, as in every game record.

    Raises:
        InputError: something in it is no square, or it has more than 60 moves.
    """
    squares, _, fault = scan(text)
    if fault:
        raise InputError(fault.reason)
    return squares


def typed_games(*texts: str) -> Games:
    """Games from their moves as players write them: `typed_games("f5d6c3", "c4c3")`.

    They have as many plies as the longest of them.

    Raises:
        InputError: something in one is no square, or it has more than 60 moves. Whether moves are
            legal is seen when the games are replayed.
    """
    lists = [parse_game(text) for text in texts]
    longest = max((len(moves) for moves in lists), default=0)
    rows = rows_of([bytes(moves) for moves in lists])[:, :longest]
    return Games(torch.from_numpy(rows.copy()), "typed")


def scan(text: str) -> tuple[list[int], list[int], Fault | None]:
    """The squares of one game, the plies before which a pass is written, and what is wrong."""
    packed = "".join(text.split()).lower()
    if _ONLY_MOVES.fullmatch(packed):
        squares, passes, end = (
            [_SQUARE_OF[packed[i : i + 2]] for i in range(0, len(packed), 2)],
            [],
            len(packed),
        )
    else:
        squares, passes, end = _with_passes(packed)
    return squares, passes, _fault(packed, squares, end)


def lines_of(text: str) -> list[str]:
    """Lines, ended as on any system; other control characters end none."""
    return _LINE_END.split(text)


def decode(content: bytes) -> str:
    """Text as UTF-8 or, where it is not, as Latin-1: names of players come in both."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def read_text(path: Path) -> Raw:
    """One game a line; empty lines do not count."""
    rows: list[bytes] = []
    passes: list[tuple[int, int]] = []
    faults: dict[int, Fault] = {}
    for number, line in enumerate(lines_of(decode(path.read_bytes())), 1):
        if not line.strip():
            continue
        squares, before, fault = scan(line)
        passes += [(len(rows), ply) for ply in before]
        if fault:
            faults[len(rows)] = Fault(fault.ply, f"line {number}: {fault.reason}")
        rows.append(b"" if fault else bytes(squares))
    return Raw(rows_of(rows), passes=passes, faults=faults)


def write_text(path: Path, games: Games) -> None:
    """One game a line, passes left out; names and scores are not kept."""
    path.write_text(to_text(games))


def to_text(games: Games) -> str:
    """One game a line in standard notation."""
    lines = ("".join(NAMES[s] for s in game if s != NO_MOVE) for game in games.moves.tolist())
    return "".join(line + "\n" for line in lines)


def _with_passes(packed: str) -> tuple[list[int], list[int], int]:
    squares: list[int] = []
    passes: list[int] = []
    end = 0
    while found := _ITEM.match(packed, end):
        if found[1]:
            squares.append(_SQUARE_OF[found[1]])
        else:
            passes.append(len(squares))
        end = found.end()
    return squares, passes, end


def _fault(packed: str, squares: list[int], end: int) -> Fault | None:
    if len(squares) > MAX_PLIES:
        return Fault(MAX_PLIES, f"a game has at most {MAX_PLIES} moves, this one {len(squares)}")
    if end == len(packed):
        return None
    try:
        parse(packed[end : end + 2])
    except InputError as error:
        return Fault(len(squares), str(error))
    raise AssertionError("what is a square was read as one")
