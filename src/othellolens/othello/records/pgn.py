"""PGN as liveothello.com writes it: tags, then "1. e6 f4 3. d3 ..." with numbers that count plies.

Several games a file. Numbers are skipped, so that files that count pairs of moves are read too.
A pass may be written ("--", "pa", "pass") or left out; a written one is checked by replay.
Comments ({...}, ;...) and $ marks are skipped; variations, (...), are refused.

A Result of discs ("38-26") counts as the score, Black's first; empty squares go to the winner.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..games import Games
from ..squares import NO_MOVE
from .check import ends
from .record import Fault, Meta, Raw, rows_of
from .text import NAMES, decode, lines_of, scan

# No pattern may look at the same letters again and again: digits and dots are counted.
_TAG = re.compile(r'\s*\[\s*(\w+)\s+"((?:[^"\\]|\\.)*)"\s*\]')
_REMARK = re.compile(r"\{[^{}]*\}|\$\d{1,3}")
_NUMBER = re.compile(r"(\d{1,3})\.{1,3}")
_TOKEN = re.compile(r"\d{1,3}\.{1,3}|1/2-1/2|\d{1,2}-\d{1,2}|\*|[^\s\d*][^\s.*]*|\S")
_PLAIN = re.compile(r"(1\.{1,3})?((?:\s|[a-hA-H][1-8]|(?!1\.)\d{1,3}\.{1,3})+)")
"""Moves and their numbers; the number 1, with which a game begins, only in front."""
_RESULT = re.compile(r"1/2-1/2|\d{1,2}-\d{1,2}|\*")
_ESCAPE = re.compile(r"\\(.)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_MOVES_A_LINE = 10
_NOT_KNOWN = ("", "?")


@dataclass
class Written:
    """One game as it stands in the file."""

    line: int = 0
    tags: dict[str, str] = field(default_factory=dict[str, str])
    moves: list[str] = field(default_factory=list[str])
    fault: str = ""

    def add(self, line: int, kind: str, value: str) -> None:
        """Take in what stands on a line."""
        self.line = self.line or line
        if kind == "tag":
            key, _, said = value.partition(" ")
            self.tags[key] = said
        elif kind == "result":
            self.tags.setdefault("Result", value)
        elif kind == "move":
            self.moves.append(value)
        elif kind == "fault":
            self.fault = self.fault or value


def knows(text: str) -> bool:
    """Whether a text begins as PGN does: with a tag, or with the number of a move."""
    return re.match(r"\s*(\[\s*\w+\s|1\.)", text) is not None


def read_pgn(path: Path) -> Raw:
    """Games with players, event, date, round and, where the result counts discs, the score."""
    rows: list[bytes] = []
    meta: list[Meta] = []
    passes: list[tuple[int, int]] = []
    faults: dict[int, Fault] = {}
    for number, game in enumerate(_games(decode(path.read_bytes()))):
        squares, before, fault = scan(" ".join(game.moves))
        passes += [(number, ply) for ply in before]
        if fault or game.fault:
            ply, reason = fault or Fault(len(squares), "")
            faults[number] = Fault(ply, f"the game of line {game.line}: {game.fault or reason}")
        rows.append(b"" if number in faults else bytes(squares))
        meta.append(_meta(game.tags))
    return Raw(rows_of(rows), meta, passes, faults)


def write_pgn(path: Path, games: Games, meta: tuple[Meta, ...]) -> None:
    """Tags and moves, passes left out; the result counts discs, or is * for an unfinished game."""
    end = ends(games)
    known = meta or (Meta(),) * len(games)
    columns = zip(
        games.moves.tolist(), known, end.scores().tolist(), end.over.tolist(), strict=True
    )
    with path.open("w", encoding="utf-8") as file:
        for moves, one, score, over in columns:
            black = one.score if one.score is not None else score if over else None
            file.write(_tags(one, black) + _movetext(moves, _result(black)))


def _games(text: str) -> Iterator[Written]:
    """Games as they are written: a tag after moves, a result or a new number 1 ends one."""
    game = Written()
    for line, written in enumerate(lines_of(text), 1):
        for kind, value in _items(written):
            starts = kind == "tag" or (kind == "number" and value == "1")
            if game.moves and starts:
                yield game
                game = Written()
            game.add(line, kind, value)
            if kind == "result":
                yield game
                game = Written()
    if game.tags or game.moves or game.fault:
        yield game


def _items(line: str) -> Iterator[tuple[str, str]]:
    """What stands on a line: ("tag" | "number" | "move" | "result" | "fault", text)."""
    at = 0
    while found := _TAG.match(line, at):
        value = _ESCAPE.sub(r"\1", found[2])
        yield "tag", f"{found[1]} {value}"
        at = found.end()
    rest = line[at:].strip()
    if rest.startswith("["):
        yield "fault", f'{rest[:40]!r} is no tag: write [Name "value"]'
    elif plain := _PLAIN.fullmatch(rest):
        # Nearly every line is one: no need to look at each of its moves.
        yield from [("number", "1")] if plain[1] else []
        yield "move", _NUMBER.sub(" ", plain[2])
    else:
        tokens = _TOKEN.findall(_REMARK.sub(" ", rest).partition(";")[0])
        yield from (_item(token) for token in tokens)


def _item(token: str) -> tuple[str, str]:
    if number := _NUMBER.fullmatch(token):
        return "number", number[1]
    if _RESULT.fullmatch(token):
        return "result", token
    if token[0] in "({[)}]":
        return "fault", f"{token[:20]!r}: variations and comments over many lines are not read"
    return "move", token


def _meta(tags: dict[str, str]) -> Meta:
    known = {
        key: "" if value.strip() in _NOT_KNOWN else value.strip() for key, value in tags.items()
    }
    date = known.get("Date", "")
    while date.endswith(".??"):
        date = date[:-3]
    return Meta(
        known.get("Black", ""),
        known.get("White", ""),
        known.get("Event", ""),
        "" if date == "????" else date,
        known.get("Round", ""),
        _score(known.get("Result", "")),
    )


def _score(result: str) -> int | None:
    """Black's discs of a result such as "38-26"; who only won ("1-0") has no score."""
    found = re.fullmatch(r"(\d{1,2})\s*-\s*(\d{1,2})", result)
    black, white = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 3 <= black + white <= 64:
        return None
    empty = 64 - black - white
    return black + empty if black > white else black + empty // 2 if black == white else black


def _tags(one: Meta, score: int | None) -> str:
    parts = [one.date, "??", "??"] if len(one.date) == 4 else [one.date or "????.??.??"]
    values = {
        "Event": one.event or "?",
        "Date": ".".join(parts),
        "Round": one.round or "?",
        "Black": one.black or "?",
        "White": one.white or "?",
        "Result": _result(score),
    }
    return "".join(f'[{key} "{_escaped(value)}"]\n' for key, value in values.items())


def _escaped(value: str) -> str:
    """A name within quotes and on one line, whatever is in it."""
    return _CONTROL.sub(" ", value).replace("\\", "\\\\").replace('"', '\\"')


def _result(score: int | None) -> str:
    return "*" if score is None else f"{score}-{64 - score}"


def _movetext(moves: list[int], result: str) -> str:
    names = [NAMES[square] for square in moves if square != NO_MOVE]
    pairs = [f"{i + 1}. {' '.join(names[i : i + 2])}" for i in range(0, len(names), 2)]
    items = [*pairs, result]
    lines = [" ".join(items[i : i + _MOVES_A_LINE]) for i in range(0, len(items), _MOVES_A_LINE)]
    return "\n" + "\n".join(lines) + "\n\n"
