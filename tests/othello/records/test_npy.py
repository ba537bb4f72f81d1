"""Published arrays by hand: squares and tokens are told apart by their content."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from othellolens.errors import InputError
from othellolens.gpt import tokens as gpt_tokens
from othellolens.othello.games import Games
from othellolens.othello.records import load_games, read_records, save_games
from othellolens.othello.records.tokens import SQUARE_OF_TOKEN, to_tokens

TIGER = [44, 29, 18, 26, 19]
TIGER_TOKENS = [41, 28, 19, 27, 20]
"""f5 d6 c3 d3 c4 in the published numbering: s+1 up to 26, s-1 for 29..34, s-3 from 37."""


def npy(dtype: str, rows: list[list[int]], *, fortran: bool = False, version: int = 1) -> bytes:
    """A file byte by byte, as the format's description has it."""
    shape = f"({len(rows)}, {len(rows[0])})"
    text = f"{{'descr': '{dtype}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    length = struct.pack("<H" if version == 1 else "<I", len(text) + 1)
    columns = [list(column) for column in zip(*rows, strict=True)]
    code = {"|i1": "b", "|u1": "B", "<i2": "<h", ">i4": ">i", "<i8": "<q", "<u8": "<Q"}[dtype]
    numbers = b"".join(struct.pack(code, x) for row in (columns if fortran else rows) for x in row)
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode() + b"\n" + numbers


@pytest.mark.parametrize("dtype", ["|i1", "|u1", "<i2", ">i4", "<i8", "<u8"])
@pytest.mark.parametrize(("fortran", "version"), [(False, 1), (True, 1), (False, 2), (True, 3)])
def test_any_integers(dtype: str, fortran: bool, version: int, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(npy(dtype, [TIGER, TIGER], fortran=fortran, version=version))
    read = read_records(path)
    assert read.games.moves[:, :6].tolist() == [[*TIGER, -1]] * 2
    assert read.form == ("npy" if dtype == "|i1" else "board_seqs_string")
    path.write_bytes(npy(dtype, [[*TIGER_TOKENS, 0, 0]], fortran=fortran, version=version))
    read = read_records(path)
    assert read.games.moves[:, :7].tolist() == [[*TIGER, -1, -1]]
    assert read.form == "board_seqs_int"


def test_the_numbering_is_that_of_the_model(games: Games) -> None:
    assert SQUARE_OF_TOKEN.tolist() == gpt_tokens.SQUARE_OF_TOKEN.tolist()
    assert to_tokens(games).tolist() == gpt_tokens.tokens(games).tolist()


def test_published_names_ask_for_published_forms(games: Games, tmp_path: Path) -> None:
    save_games(games, tmp_path / "board_seqs_int_small.npy")
    save_games(games, tmp_path / "board_seqs_string_small.npy")
    ids = np.load(tmp_path / "board_seqs_int_small.npy")
    squares = np.load(tmp_path / "board_seqs_string_small.npy")
    assert (ids.dtype, squares.dtype) == (np.int64, np.int64)
    assert torch.equal(torch.from_numpy(ids), gpt_tokens.tokens(games))
    assert torch.equal(torch.from_numpy(squares), games.moves.long())


def test_one_legal_game_decides(tmp_path: Path) -> None:
    """The four first moves as squares (19 26 37 44) and as tokens (20 27 34 41) share no number."""
    path = tmp_path / "a"
    for square in (19, 26, 37, 44):
        path.write_bytes(npy("<i8", [[square]]))
        assert load_games(path).moves[0, 0] == square
        path.write_bytes(npy("<i8", [[SQUARE_OF_TOKEN.tolist().index(square)]]))
        assert load_games(path).moves[0, 0] == square


def test_two_readings_are_refused_and_the_form_decides(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for rows, squares, tokens in (
        ([[44, 29], [41, 28]], 1, 1),
        ([[1, 2], [3, 4]], 0, 0),
        ([[-1, 0], [0, 0]], 0, 0),
    ):
        path.write_bytes(npy("<i8", rows))
        message = (
            f"{squares} games begin as squares do .*, {tokens} as tokens do .*form=.board_seqs_str"
        )
        with pytest.raises(InputError, match=message):
            load_games(path, illegal="skip")
    path.write_bytes(npy("<i8", [[44, 29], [41, 28]]))
    for form, kept in (("board_seqs_string", 0), ("board_seqs_int", 1)):
        read = read_records(path, form=form, illegal="skip")
        assert read.numbers.tolist() == [kept]
        assert read.games.moves[0, :2].tolist() == [44, 29]


def test_a_form_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(npy("<i8", [TIGER_TOKENS]))
    with pytest.raises(InputError, match="game 0, ply 0: b\\w is illegal|f2 is illegal here"):
        load_games(path, form="npy")
    path.write_text("f5d6")
    with pytest.raises(InputError, match="is truncated or no array of numbers"):
        load_games(path, form="npy")


def test_games_without_moves(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(npy("<i8", [[0, 0], [0, 0]]))
    assert read_records(path).form == "board_seqs_int"
    path.write_bytes(npy("<i8", [[-1, -1], [-1, -1]]))
    assert read_records(path).form == "board_seqs_string"
    assert load_games(path).lengths().tolist() == [0, 0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[41, 61]], r"ply 1: 61 is no token \(0\.\.60; 0 after the end\)"),
        ([[41, -100]], "ply 1: -100 is no token"),
        ([[44, 64]], r"ply 1: 64 is no square \(0\.\.63; -1 after the end\)"),
        ([[44, 2**62]], "ply 1: 4611686018427387904 is no square"),
        ([[44, 27]], "ply 1: d4 is illegal here"),
        ([[44, 29, 0, 0]], "ply 2: a1 is illegal here"),
        ([[41, 0, 28]], "ply 2: a move .d6. stands after the end"),
    ],
)
def test_numbers_that_mean_nothing(rows: list[list[int]], message: str, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(npy("<i8", rows))
    with pytest.raises(InputError, match=message):
        load_games(path)


def test_headers_are_not_evaluated_and_sizes_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "a"
    good = npy("<i8", [TIGER, TIGER])
    for bad, message in (
        (good.replace(b"(2, 5)", b"(9**99999, 5)"), "is no array of whole numbers"),
        (good.replace(b"(2, 5)", b"(" + b"9" * 40 + b", 5)"), r"games are integers"),
        (good.replace(b"(2, 5)", b"(281474976710656, 60)"), "is truncated"),
        (good.replace(b"'<i8'", b"'|O8'"), "is no array of whole numbers"),
        (good.replace(b"'<i8'", b"[('a', 'i8')]"), "is no array of whole numbers"),
        (good[:8] + b"\xff\xff" + good[10:], "is truncated or no array"),
    ):
        length = struct.pack("<H", bad.index(b"\n") + 1 - 10)
        path.write_bytes(bad if bad[8:10] == b"\xff\xff" else bad[:8] + length + bad[10:])
        with pytest.raises(InputError, match=message):
            load_games(path)
