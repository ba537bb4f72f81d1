"""Game files: every form comes back as it was written; damaged ones end in one line."""

import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from reference import othello_by_lists as slow

from othellolens.errors import InputError
from othellolens.othello.games import Games, IllegalMoveError
from othellolens.othello.records import (
    FormName,
    Meta,
    load_games,
    parse_game,
    read_records,
    save_games,
    save_records,
    to_text,
    typed_games,
)
from othellolens.othello.records.forms import FORMS

NAMES = (
    "games.npy",
    "games.txt",
    "games.pgn",
    "games.wtb",
    "games.pickle",
    "games.safetensors",
    "board_seqs_int_small.npy",
    "board_seqs_string_small.npy",
)


def with_short(games: Games) -> Games:
    moves = torch.full((2, 60), -1, dtype=torch.int8)
    moves[0, :9] = torch.tensor(slow.WIPE_OUT)
    moves[1, :10] = torch.tensor(slow.EARLY_PASS)
    return Games(torch.cat([games.moves[:5], moves]), "mixed")


@pytest.mark.parametrize("name", NAMES)
def test_games_come_back(name: str, games: Games, tmp_path: Path) -> None:
    path = tmp_path / name
    save_games(with_short(games), path)
    # By content, whatever the name.
    renamed = path.rename(tmp_path / "games.dat")
    read = load_games(renamed)
    assert torch.equal(read.moves, with_short(games).moves)
    assert read.origin.startswith("file games.dat sha256=")
    assert [one.name for one in tmp_path.iterdir()] == ["games.dat"]


def test_text_is_what_players_write(games: Games) -> None:
    lines = to_text(with_short(games)).splitlines()
    assert lines[5] == "e6f4e3f6g5d6e7f5c5"
    assert parse_game(lines[6]) == slow.EARLY_PASS
    assert parse_game("F5 d6\tc3") == [44, 29, 18]


def test_blank_lines_and_spaces_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text("\nf5 d6 c3\r\n\n  F5D6 \n")
    moves = load_games(path).moves
    assert moves[:, :4].tolist() == [[44, 29, 18, -1], [44, 29, -1, -1]]


def test_what_exists_is_not_overwritten(games: Games, tmp_path: Path) -> None:
    path = tmp_path / "games.npy"
    path.write_text("mine")
    with pytest.raises(InputError, match=r"games\.npy exists"):
        save_games(games, path)
    assert path.read_text() == "mine"
    with pytest.raises(InputError, match=r"name the file in one of these ways: .*\*\.npy"):
        save_games(games, tmp_path / "games.csv")


def npy(path: Path, array: np.ndarray) -> bytes:
    np.save(path, array)
    return path.with_suffix(".npy").read_bytes()


def test_damaged_files_are_refused(games: Games, tmp_path: Path) -> None:
    good = npy(tmp_path / "good", games.moves.numpy())
    numbers = npy(tmp_path / "numbers", games.moves.float().numpy())
    flat = npy(tmp_path / "flat", games.moves[0].numpy())
    wide = npy(tmp_path / "wide", np.full((1, 61), -1, dtype=np.int8))
    path = tmp_path / "games.dat"
    for content, message in (
        (b"", "is empty"),
        (good[:-1], "is truncated"),
        (good[:40], "is truncated"),
        (good + b"x", "holds more than its header says"),
        (numbers, r"is no array of whole numbers .*'<f4'.*; games are integers"),
        (flat, r"is int8 \[60\]; games are integers"),
        (wide, r"is int8 \[1, 61\]; games are integers"),
        (b"PK\x03\x04 zipped", "but a zip archive: unpack it first"),
        (b"\xff\xfe\x00", "of no known form"),
        (b"f5d6\nf5z9\n", "line 2: 'z9' is not a square"),
        (b"f5d\n", "line 1: 'd' is not a square"),
        (b"f5" * 61, "line 1: a game has at most 60 moves, this one 61"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_games(path)
        assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no file .*nowhere"):
        load_games(tmp_path / "nowhere")


class Bomb:
    """Unpickled without care, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    path, made = tmp_path / "games.npy", tmp_path / "made"
    np.save(path, np.array([[Bomb(made)]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"games\.npy"):
        load_games(path)
    assert not made.exists()
    np.load(path, allow_pickle=True)
    assert made.exists(), "the bomb is a dud"


def test_an_illegal_move_names_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text("f5d6\nf5f4a1\n")
    with pytest.raises(IllegalMoveError, match=r"games, game 1, ply 2: a1 is illegal"):
        load_games(path)


@pytest.mark.parametrize("name", NAMES)
def test_ten_thousand_games_come_back(name: str, many: Games, tmp_path: Path) -> None:
    save_games(many, tmp_path / name)
    read = read_records(tmp_path / name)
    assert torch.equal(read.games.moves, many.moves)
    assert torch.equal(read.numbers, torch.arange(len(many)))
    assert not read.skipped
    assert 0.3 < float((read.ends.passes > 0).float().mean()) < 0.4


def test_every_form_has_a_reader_and_a_name_to_write_by(games: Games, tmp_path: Path) -> None:
    assert set(FORMS) == set(get_args(FormName))
    for name, form in zip(NAMES, ("npy", "text", "pgn", "wthor", "pickle"), strict=False):
        save_games(games, tmp_path / name)
        assert read_records(tmp_path / name).form == form
    save_games(games, tmp_path / "any.name", form="pgn")
    assert (tmp_path / "any.name").read_bytes() == (tmp_path / "games.pgn").read_bytes()


def test_what_is_recorded_goes_from_form_to_form(games: Games, tmp_path: Path) -> None:
    save_games(games, tmp_path / "plain.pgn")
    records = read_records(tmp_path / "plain.pgn")
    assert records.agreeing() == 1.0
    assert [one.score for one in records.meta] == records.ends.scores().tolist()
    names = [
        Meta('A "quoted" \\ name', "B\nC", f"Open {i}", "2012", "3", 40, 38) for i in range(32)
    ]
    save_records(replace(records, meta=names), tmp_path / "named.pgn")
    read = read_records(tmp_path / "named.pgn")
    kept = [one._replace(white="B C", theoretical=None) for one in names]
    assert read.meta == kept
    save_records(replace(records, meta=names), tmp_path / "named.wtb")
    wthor = read_records(tmp_path / "named.wtb")
    assert set(wthor.meta) == {Meta(date="2012", score=40, theoretical=38)}
    assert wthor.agreeing() == float((records.ends.scores() == 40).float().mean())


def test_an_empty_list_of_games_comes_back(games: Games, tmp_path: Path) -> None:
    for name in NAMES:
        if name == "games.txt":
            continue
        save_games(games[:0], tmp_path / name)
        if name != "games.pgn":
            assert load_games(tmp_path / name).moves.shape == (0, 60)
    # A file of no bytes says nothing of what it is.
    save_games(games[:0], tmp_path / "games.txt")
    for name in ("games.txt", "games.pgn"):
        with pytest.raises(InputError, match="is empty"):
            load_games(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "games.txt"
    path.write_text("f5d6\n")
    path.chmod(0)
    with pytest.raises(InputError, match=r"games\.txt cannot be read: Permission denied"):
        load_games(path)


def test_illegal_games_are_skipped_and_counted(many: Games, tmp_path: Path) -> None:
    moves = many.moves[:2_000].clone()
    moves[7, 3] = 0
    moves[1_500, 20:25] = -1
    moves[1_501, 0] = 27
    for name in ("bad.npy", "bad.pickle"):
        save_games(Games(moves, ""), tmp_path / name)
    read = read_records(tmp_path / "bad.npy", illegal="skip")
    assert [(one.game, one.ply) for one in read.skipped] == [(7, 3), (1_500, 25), (1_501, 0)]
    assert "a1 is illegal here; legal were: " in read.skipped[0].reason
    assert "stands after the end of the game" in read.skipped[1].reason
    assert "d4 is illegal here; legal were: c4 d3 e6 f5" in read.skipped[2].reason
    assert str(read.skipped[0]).startswith(f"{tmp_path / 'bad.npy'}, game 7, ply 3: a1")
    kept = [i for i in range(2_000) if i not in (7, 1_500, 1_501)]
    assert read.numbers.tolist() == kept
    assert torch.equal(read.games.moves, many.moves[kept])
    assert read.games.origin.endswith(" without=3")
    with pytest.raises(IllegalMoveError, match="game 7, ply 3: a1 is illegal"):
        load_games(tmp_path / "bad.npy")
    assert len(load_games(tmp_path / "bad.npy", illegal="skip")) == 1_997
    assert [one.game for one in read_records(tmp_path / "bad.pickle", illegal="skip").skipped] == [
        7,
        1_500,
        1_501,
    ]


def test_a_file_of_illegal_games_only_is_refused_however_asked(tmp_path: Path) -> None:
    moves = torch.full((9_000, 60), -1, dtype=torch.int8)
    moves[:, 0], moves[:, 1] = 44, 0
    save_games(Games(moves, ""), tmp_path / "bad.npy")
    with pytest.raises(InputError, match="8192 games in a row are illegal; the first: .*a1 is"):
        load_games(tmp_path / "bad.npy", illegal="skip")


def test_games_are_typed_as_they_are_written(games: Games) -> None:
    lines = to_text(games).splitlines()
    typed = typed_games(*lines)
    assert torch.equal(typed.moves, games.moves)
    assert to_text(typed) == to_text(games)
    assert typed_games("f5d6", "").lengths().tolist() == [2, 0]
    with pytest.raises(InputError, match="f9"):
        typed_games("f5f9")
