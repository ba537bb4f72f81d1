"""Game files: read by content, checked by replay, written in one step.

Two forms so far: an .npy array int8 [game, ply] of squares (-1 after the end), and plain text, one
game a line, as players write it ("f5d6c3...").
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..artifact import refuse_existing, sha256, write_file
from ..errors import InputError
from .games import Games, IllegalMoveError
from .squares import MAX_PLIES, NO_MOVE, name, parse

_NPY = b"\x93NUMPY"


def load_games(path: str | Path) -> Games:
    """Games from a file, recognised by its content and replayed by the rules.

    Raises:
        InputError: no such file, empty, truncated, of no known form, or with an illegal move (which
            game, ply and square, and what was legal there).
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(len(_NPY))
    if not head:
        raise InputError(f"{path} is empty")
    moves = _read_npy(path) if head == _NPY else _read_text(path)
    games = Games(torch.from_numpy(moves), f"file {path.name} sha256={sha256(path)[:16]}")
    try:
        games.replay_table()
    except IllegalMoveError as error:
        raise IllegalMoveError(f"{path}, {error}") from None
    return games


def save_games(games: Games, path: str | Path) -> None:
    """Write games as .npy or, where the name ends in .txt, as text.

    Raises:
        InputError: the file exists, or its name ends in neither.
    """
    path = Path(path)
    check_writable(path)
    if path.suffix == ".npy":
        write_file(path, lambda work: _write_npy(work, games))
    else:
        write_file(path, lambda work: work.write_text(to_text(games)))


def check_writable(path: Path) -> None:
    """Refuse a path that `save_games` would refuse, before the games are made.

    Raises:
        InputError: the file exists, or its name ends in neither .npy nor .txt.
    """
    refuse_existing(path)
    if path.suffix not in (".npy", ".txt"):
        raise InputError(f"{path}: name the file .npy or .txt")


def to_text(games: Games) -> str:
    """One game a line in standard notation."""
    lines = ("".join(name(s) for s in game if s != NO_MOVE) for game in games.moves.tolist())
    return "".join(line + "\n" for line in lines)


def _write_npy(path: Path, games: Games) -> None:
    with path.open("wb") as file:
        np.save(file, games.moves.numpy())


def _read_npy(path: Path) -> NDArray[np.int8]:
    try:
        moves = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is truncated or no array of numbers ({error})") from None
    if moves.dtype != np.int8 or moves.ndim != 2 or not 0 < moves.shape[1] <= MAX_PLIES:
        raise InputError(
            f"{path} is {moves.dtype} {list(moves.shape)}; games are int8 [game, up to 60 plies]"
        )
    return moves


def _read_text(path: Path) -> NDArray[np.int8]:
    try:
        text = path.read_bytes().decode("ascii")
    except UnicodeDecodeError:
        raise InputError(
            f"{path} is of no known form: games are an .npy array or text, one game a line"
        ) from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    games = [_squares(path, number, line) for number, line in lines if line]
    moves = np.full((len(games), MAX_PLIES), NO_MOVE, dtype=np.int8)
    for row, game in enumerate(games):
        moves[row, : len(game)] = game
    return moves


def parse_game(text: str) -> list[int]:
    """The squares of one game in standard notation, e.g. "f5d6c3" or "f5 d6 c3".

    Raises:
        InputError: something in it is no square, or it has more than 60 moves.
    """
    packed = "".join(text.split())
    if len(packed) > 2 * MAX_PLIES:
        raise InputError(f"a game has at most {MAX_PLIES} moves, this one {len(packed) // 2}")
    return [parse(packed[i : i + 2]) for i in range(0, len(packed), 2)]


def _squares(path: Path, number: int, line: str) -> list[int]:
    try:
        return parse_game(line)
    except InputError as error:
        raise InputError(f"{path}, line {number}: {error}") from None
