"""WTHOR: the archive of tournament games of the French federation (.wtb, with .jou and .trn).

A header of 16 bytes, then 68 bytes a game: tournament, Black, White (numbers into .trn and .jou),
Black's discs at the end (the empty squares given to the winner), the same after best play, and 60
moves. A move is the byte 10 * row + column, both from 1, so that f5 is 56; 0 ends the game; passes
are implicit. Some programs write 10 * column + row instead: those games are as legal, only
mirrored, and all that shows is the first move, which the archive has turned to f5 in every game.

.jou and .trn have the same header, then names of 20 and 26 bytes that end in a zero byte.

Format: Format_WThor.pdf of ffothello.org. Checked against the 36 files of
1977-2012; of .jou and .trn no published file was at hand.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..games import Games
from ..squares import MAX_PLIES, NO_MOVE, SQUARES
from .check import ends
from .record import UNREADABLE, Meta, Raw

HEADER = np.dtype(
    [
        ("century", "u1"),
        ("year", "u1"),
        ("month", "u1"),
        ("day", "u1"),
        ("games", "<u4"),
        ("names", "<u2"),
        ("played", "<u2"),
        ("size", "u1"),
        ("solitaire", "u1"),
        ("depth", "u1"),
        ("reserved", "u1"),
    ]
)
GAME = np.dtype(
    [
        ("event", "<u2"),
        ("black", "<u2"),
        ("white", "<u2"),
        ("score", "u1"),
        ("theoretical", "u1"),
        ("moves", "u1", (MAX_PLIES,)),
    ]
)
PLAYER_BYTES, TOURNAMENT_BYTES = 20, 26
_F5, _E6 = 56, 65
_ENOUGH = 16
# So many games that all begin e6 are no chance: WTHOR's all begin f5.
_BYTE_OF = np.array([10 * (s % 8 + 1) + s // 8 + 1 for s in SQUARES] + [0], dtype=np.uint8)
_SQUARE_OF = np.full(256, UNREADABLE, dtype=np.int8)
_SQUARE_OF[_BYTE_OF] = [*SQUARES, NO_MOVE]


class Names(NamedTuple):
    """The names that lie beside a .wtb file."""

    players: list[str]
    tournaments: list[str]
    notes: list[str]


def knows(head: bytes, size: int) -> bool:
    """Whether a file begins as WTHOR's: with the date of its making, century first.

    Where a program wrote no date, the number of games must fit the size of the file.
    """
    dated = len(head) >= 4 and head[0] in (19, 20, 21) and head[1] < 100 and 0 < head[2] <= 12
    games = int.from_bytes(head[4:8], "little")
    return dated or (head[:4] == bytes(4) and 16 + 68 * games == size)


def read_wthor(path: Path) -> Raw:
    """Games with players, tournament, year and scores."""
    content = path.read_bytes()
    header = _header(path, content)
    games = np.frombuffer(content, GAME, offset=HEADER.itemsize)
    names = names_beside(path)
    notes = [*names.notes, *_oddities(games)]
    return Raw(
        _SQUARE_OF[games["moves"]],
        meta=_meta(games, int(header["played"]), names),
        source=games["moves"],
        unit="WTHOR byte for a square (10 * row + column; 0 after the end)",
        notes=notes,
    )


def write_wthor(path: Path, games: Games, meta: tuple[Meta, ...]) -> None:
    """WTHOR without names: every player and tournament is number 0.

    The score is the recorded one or else follows from the discs at the end; where no theoretical
    score is known, the form has no way to say so, and the score stands in its place. The date of
    making is a constant, so that the same games make the same bytes.
    """
    header, rows = np.zeros(1, HEADER), np.zeros(len(games), GAME)
    header["century"], header["month"], header["day"] = 20, 1, 1
    header["games"], header["played"], header["size"] = len(games), _year(meta), 8
    rows["score"] = rows["theoretical"] = ends(games).scores().numpy()
    for row, one in zip(rows, meta, strict=bool(meta)):
        row["score"] = row["score"] if one.score is None else one.score
        row["theoretical"] = row["score"] if one.theoretical is None else one.theoretical
    rows["moves"][:, : games.moves.shape[1]] = _BYTE_OF[games.moves.numpy()]
    path.write_bytes(header.tobytes() + rows.tobytes())


def names_beside(path: Path) -> Names:
    """Names from the .jou and .trn files of the folder, found in either case.

    Raises:
        InputError: such a file is damaged.
    """
    notes: list[str] = []
    found: list[list[str]] = []
    for suffix, length, what in (
        (".jou", PLAYER_BYTES, "players"),
        (".trn", TOURNAMENT_BYTES, "tournaments"),
    ):
        file = _beside(path, suffix)
        found.append(_names(file, length) if file else [])
        if file is None:
            notes.append(f"no names of {what}: there is no one {suffix} file beside it")
    return Names(found[0], found[1], notes)


def _header(path: Path, content: bytes) -> np.void:
    if len(content) < HEADER.itemsize:
        raise InputError(f"{path} is truncated: a WTHOR header has 16 bytes; copy it again")
    header = np.frombuffer(content, HEADER, 1)[0]
    if header["size"] not in (0, 8) or header["solitaire"] != 0:
        raise InputError(
            f"{path} holds WTHOR positions or a board of {header['size']} squares a side:"
            " only games on 8 x 8 are read"
        )
    there, said = len(content) - HEADER.itemsize, int(header["games"])
    if there != said * GAME.itemsize:
        raise InputError(
            f"{path}: its WTHOR header says {said} games of 68 bytes, but {there} bytes follow:"
            " copy it again (lists of names, .jou and .trn, hold no games)"
        )
    return header


def _oddities(games: NDArray[Any]) -> list[str]:
    first = games["moves"][:, 0]
    if len(first) >= _ENOUGH and (first == _E6).all():
        return ["every game begins e6, in WTHOR f5: was it written as 10 * column + row?"]
    return []


def _meta(games: NDArray[Any], year: int, names: Names) -> list[Meta]:
    columns = (games[key].tolist() for key in ("black", "white", "event", "score", "theoretical"))
    date = str(year) if year else ""
    return [
        Meta(
            _name(names.players, black),
            _name(names.players, white),
            _name(names.tournaments, event),
            date,
            score=score,
            theoretical=theoretical,
        )
        for black, white, event, score, theoretical in zip(*columns, strict=True)
    ]


def _name(names: list[str], number: int) -> str:
    return names[number] if number < len(names) else ""


def _beside(path: Path, suffix: str) -> Path | None:
    """The one file with this suffix, or the one among several that is called WTHOR."""
    there = [one for one in path.parent.iterdir() if one.suffix.lower() == suffix]
    named = [one for one in there if one.stem.lower() == "wthor"]
    only = there if len(there) == 1 else named
    return only[0] if len(only) == 1 and only[0].is_file() else None


def _names(path: Path, length: int) -> list[str]:
    content = path.read_bytes()
    rest = len(content) - HEADER.itemsize
    if rest < 0 or rest % length:
        raise InputError(
            f"{path} is no list of WTHOR names (16 bytes, then {length} a name): copy it again, or"
            " move it away to read the games without names"
        )
    starts = range(HEADER.itemsize, len(content), length)
    pieces = (content[start : start + length].split(b"\0", 1)[0] for start in starts)
    return [piece.decode("latin-1").strip() for piece in pieces]


def _year(meta: tuple[Meta, ...]) -> int:
    years = {one.date[:4] for one in meta}
    year = years.pop() if len(years) == 1 else ""
    return int(year) if year.isascii() and year.isdigit() else 0
