"""Every form of game file: how it is read, how it is written, which names ask for it."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..games import Games
from . import npy, pgn, pickles, tensors, text, wthor
from .record import FormName, Meta, Raw

Writer = Callable[[Path, Games, tuple[Meta, ...]], None]


class Form(NamedTuple):
    """One form of game file."""

    names: tuple[str, ...]
    """Patterns of the names that are written in this form; the first form that fits counts."""
    read: Callable[[Path], Raw]
    write: Writer


def _moves_only(write: Callable[[Path, Games], None]) -> Writer:
    """The writer of a form that has no room for players and scores."""
    return lambda path, games, _: write(path, games)


FORMS: dict[FormName, Form] = {
    "board_seqs_int": Form(
        ("board_seqs_int*.npy",), npy.read_tokens, _moves_only(npy.write_board_seqs_int)
    ),
    "board_seqs_string": Form(
        ("board_seqs_string*.npy",), npy.read_squares, _moves_only(npy.write_board_seqs_string)
    ),
    "npy": Form(("*.npy",), npy.read_squares, _moves_only(npy.write_npy)),
    "text": Form(("*.txt",), text.read_text, _moves_only(text.write_text)),
    "pgn": Form(("*.pgn",), pgn.read_pgn, pgn.write_pgn),
    "wthor": Form(("*.wtb",), wthor.read_wthor, wthor.write_wthor),
    "pickle": Form(("*.pickle", "*.pkl"), pickles.read_pickle, _moves_only(pickles.write_pickle)),
    "safetensors": Form(
        ("*.safetensors",), tensors.read_safetensors, _moves_only(tensors.write_safetensors)
    ),
}
