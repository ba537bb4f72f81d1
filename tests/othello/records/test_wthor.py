"""WTHOR files by hand, byte by byte; the published archive where it lies beside the repository."""

import struct
import time
from pathlib import Path

import pytest
import torch

from othellolens.errors import InputError
from othellolens.othello.games import Games
from othellolens.othello.records import Meta, load_games, read_records, save_games
from othellolens.othello.records.importing import Imported, import_files, rows, together

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "wthor"
TIGER = bytes([56, 64, 33, 34, 43])
"""f5 d6 c3 d3 c4 as 10 * row + column."""


def header(games: int, *, size: int = 8, solitaire: int = 0, year: int = 2012) -> bytes:
    made = bytes([20, 12, 9, 30])
    return made + struct.pack("<IHHBBBB", games, 0, year, size, solitaire, 24, 0)


def game(
    moves: bytes, ids: tuple[int, int, int] = (1, 2, 0), scores: tuple[int, int] = (40, 38)
) -> bytes:
    return struct.pack("<HHHBB", *ids, *scores) + moves.ljust(60, b"\0")


def names(length: int, *entries: bytes) -> bytes:
    return header(0) + b"".join(entry.ljust(length, b"\0") for entry in entries)


def write(path: Path, *games: bytes) -> Path:
    path.write_bytes(header(len(games)) + b"".join(games))
    return path


def test_f5_is_square_44(tmp_path: Path) -> None:
    path = write(tmp_path / "games", game(TIGER))
    assert load_games(path).moves[0, :6].tolist() == [44, 29, 18, 26, 19, -1]


def test_a_file_without_a_date_is_known_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "games"
    content = bytes(4) + header(1)[4:] + game(TIGER)
    path.write_bytes(content)
    assert read_records(path).form == "wthor"
    path.write_bytes(content + b"x")
    with pytest.raises(InputError, match="of no known form"):
        read_records(path)


def test_moves_are_written_as_row_and_column(tmp_path: Path) -> None:
    moves = torch.full((1, 60), -1, dtype=torch.int8)
    moves[0, :5] = torch.tensor([44, 29, 18, 26, 19])
    save_games(Games(moves, ""), tmp_path / "games.wtb")
    content = (tmp_path / "games.wtb").read_bytes()
    assert len(content) == 16 + 68
    assert content[4:8] == b"\x01\0\0\0"
    assert content[16 + 8 :] == TIGER.ljust(60, b"\0")


def test_names_lie_beside_the_games(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wtb", game(TIGER, (1, 2, 0)), game(TIGER, (0, 0, 9)))
    (tmp_path / "WTHOR.JOU").write_bytes(names(20, b"?", b"Tastet Marc\0junk", b"H\xe9l\xe8ne X"))
    (tmp_path / "wthor.Trn").write_bytes(names(26, b"Divers", b"Open de Paris"))
    read = read_records(path)
    assert list(read.meta) == [
        Meta("H\xe9l\xe8ne X", "?", "Open de Paris", "2012", "", 40, 38),
        Meta("?", "", "Divers", "2012", "", 40, 38),
    ]
    assert not read.notes


def test_without_names_the_games_are_read_and_it_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wtb", game(TIGER))
    read = read_records(path)
    assert read.meta[0].black == ""
    assert [note.split(":")[0] for note in read.notes] == [
        "no names of players",
        "no names of tournaments",
    ]
    # Of two lists, the one called WTHOR counts; without one, neither.
    (tmp_path / "a.jou").write_bytes(names(20, b"x", b"y", b"A"))
    (tmp_path / "b.JOU").write_bytes(names(20, b"x", b"y", b"B"))
    assert read_records(path).meta[0].black == ""
    (tmp_path / "Wthor.jou").write_bytes(names(20, b"x", b"y", b"C"))
    assert read_records(path).meta[0].black == "C"
    (tmp_path / "Wthor.jou").write_bytes(names(20, b"x", b"y", b"C")[:-1])
    with pytest.raises(InputError, match=r"Wthor\.jou is no list of WTHOR names .* move it away"):
        read_records(path)


def test_a_transposed_archive_is_noted(tmp_path: Path) -> None:
    mirrored = bytes([65, 46, 33, 43, 34])
    assert read_records(write(tmp_path / "few.wtb", game(mirrored))).notes[2:] == []
    many = read_records(write(tmp_path / "a.wtb", *[game(mirrored)] * 16))
    assert "every game begins e6" in many.notes[2]


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "games.dat"
    for content, message in (
        (header(1)[:12], "is truncated: a WTHOR header has 16 bytes"),
        (header(2) + game(TIGER), "says 2 games of 68 bytes, but 68 bytes follow: copy it again"),
        (header(1) + game(TIGER)[:-1], "says 1 games of 68 bytes, but 67"),
        (header(1) + game(TIGER) + b"x", "but 69 bytes follow"),
        (header(2**32 - 1), "says 4294967295 games"),
        (header(1, size=10) + game(TIGER), "a board of 10 squares a side: only games on 8 x 8"),
        (header(1, solitaire=1) + game(TIGER), "holds WTHOR positions"),
        (names(20, b"A player"), "lists of names, .jou and .trn, hold no games"),
        (header(1) + game(bytes([56, 99])), "game 0, ply 1: 99 is no WTHOR byte for a square"),
        (header(1) + game(bytes([56, 0, 64])), "ply 2: a move .d6. stands after the end"),
        (header(1) + game(bytes([56, 65])), "ply 1: e6 is illegal here; legal were: d6 f4 f6"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_games(path)
        assert str(path) in str(caught.value)
    path.write_bytes(header(0))
    assert len(load_games(path)) == 0


@pytest.fixture(scope="module")
def archive() -> list[Imported]:
    if not SHARED.is_dir():
        pytest.skip("no WTHOR archive beside the repository")
    return import_files([SHARED], illegal="skip")


@pytest.mark.shared
def test_the_whole_archive_replays(archive: list[Imported]) -> None:
    table, whole = rows(archive)[-1], together(archive)
    assert len(archive) == 36
    assert (table["games"], table["skipped"]) == (111_296, 0)
    assert bool((whole.games.moves[:, 0] == 44).all())
    assert table["with a pass"] == 63_708
    assert (whole.agreeing() or 0.0) > 0.995
    # Only games that were broken off, and then adjudicated, end in another score than their discs.
    recorded = torch.tensor([-1 if one.score is None else one.score for one in whole.meta])
    differ = recorded != whole.ends.scores()
    assert int((~whole.ends.over).sum()) == 413
    assert not bool((differ & whole.ends.over).any())


@pytest.mark.shared
def test_the_archive_is_read_in_seconds(archive: list[Imported]) -> None:
    assert sum(one.seconds for one in archive) < 60
    started = time.perf_counter()
    assert len(load_games(SHARED / "WTH_2012.wtb")) == 2208
    assert time.perf_counter() - started < 10
