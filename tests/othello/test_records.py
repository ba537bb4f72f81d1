"""Game files: both forms come back as they were written; damaged ones end in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference import othello_by_lists as slow

from othellolens.errors import InputError
from othellolens.othello.games import Games, IllegalMoveError
from othellolens.othello.records import load_games, parse_game, save_games, to_text


def with_short(games: Games) -> Games:
    moves = torch.full((2, 60), -1, dtype=torch.int8)
    moves[0, :9] = torch.tensor(slow.WIPE_OUT)
    moves[1, :10] = torch.tensor(slow.EARLY_PASS)
    return Games(torch.cat([games.moves[:5], moves]), "mixed")


@pytest.mark.parametrize("suffix", [".npy", ".txt"])
def test_games_come_back(suffix: str, games: Games, tmp_path: Path) -> None:
    path = tmp_path / f"games{suffix}"
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
    with pytest.raises(InputError, match=r"name the file \.npy or \.txt"):
        save_games(games, tmp_path / "games.csv")


def npy(path: Path, array: np.ndarray) -> bytes:
    np.save(path, array)
    return path.with_suffix(".npy").read_bytes()


def test_damaged_files_are_refused(games: Games, tmp_path: Path) -> None:
    good = npy(tmp_path / "good", games.moves.numpy())
    numbers = npy(tmp_path / "numbers", games.moves.long().numpy())
    flat = npy(tmp_path / "flat", games.moves[0].numpy())
    wide = npy(tmp_path / "wide", np.full((1, 61), -1, dtype=np.int8))
    path = tmp_path / "games.dat"
    for content, message in (
        (b"", "is empty"),
        (good[:-1], "is truncated"),
        (good[:40], "is truncated"),
        (numbers, r"is int64 \[32, 60\]; games are int8"),
        (flat, r"is int8 \[60\]; games are int8"),
        (wide, r"is int8 \[1, 61\]; games are int8"),
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
