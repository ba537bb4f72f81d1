"""Token tensors in safetensors, written by hand."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from othellolens.errors import InputError
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import Games
from othellolens.othello.records import load_games, read_records, save_games

ROWS = [[41, 28, 19, 0], [41, 0, 0, 0]]


def safetensors(dtype: str, rows: list[list[int]], key: str = "input_ids") -> bytes:
    code = {"I64": "q", "I32": "i", "I16": "h", "I8": "b", "U8": "B", "U16": "H", "BOOL": "?"}
    code |= {"F32": "f", "U64": "Q"}
    numbers = b"".join(struct.pack("<" + code[dtype], x) for row in rows for x in row)
    shape = [len(rows), len(rows[0])]
    entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(numbers)]}
    head = json.dumps({key: entry}).encode()
    return struct.pack("<Q", len(head)) + head + numbers


@pytest.mark.parametrize("dtype", ["I64", "I32", "I16", "I8", "U8", "U16", "U64"])
def test_token_ids_of_any_width(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_bytes(safetensors(dtype, ROWS))
    read = read_records(path)
    assert read.form == "safetensors"
    assert read.games.moves[:, :4].tolist() == [[44, 29, 18, -1], [44, -1, -1, -1]]


def test_what_is_written(games: Games, tmp_path: Path) -> None:
    save_games(games, tmp_path / "games.safetensors")
    (written,) = load_file(tmp_path / "games.safetensors").values()
    assert written.dtype == torch.uint8
    assert torch.equal(written.long(), tokens(games))


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "games"
    good = safetensors("I64", ROWS)
    two = {name: {"dtype": "U8", "shape": [0, 1], "data_offsets": [0, 0]} for name in "ab"}
    both = json.dumps(two).encode()
    for content, message in (
        (good[:-1], "is truncated or no safetensors file"),
        (good[:20], "is truncated or no safetensors file"),
        (struct.pack("<Q", 90_000_000) + good[8:], "is truncated or no safetensors file"),
        (safetensors("F32", ROWS), r"holds float32 \[2, 4\]; token ids are integers"),
        (safetensors("BOOL", [[1]]), r"holds bool \[1, 1\]; token ids are integers"),
        (safetensors("I8", [[0] * 61]), r"holds int8 \[1, 61\]"),
        (struct.pack("<Q", len(both)) + both, r"holds 2 tensors \(a, b\): games are one tensor"),
        (struct.pack("<Q", 2) + b"{}", "holds 0 tensors"),
        (safetensors("I64", [[41, 99]]), "game 0, ply 1: 99 is no token"),
        (safetensors("I64", [[44, 29]]), "game 0, ply 0: f8 is illegal here|is illegal here"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_games(path)
        assert str(path) in str(caught.value)
