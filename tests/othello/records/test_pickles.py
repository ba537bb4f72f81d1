"""Lists of games in pickles: read without being run; everything else is refused by name."""

import contextlib
import os
import pickle
import time
from pathlib import Path

import pytest

from othellolens.errors import InputError
from othellolens.othello.games import Games
from othellolens.othello.records import load_games, read_records

LISTS = [[44, 29, 18], [], [44, 43]]
BY_HAND = b"\x80\x04]\x94(]\x94(K\x2cK\x1dK\x12e]\x94]\x94(K\x2cK\x2bee."
"""Protocol 4: [[44, 29, 18], [], [44, 43]], each list kept in the memo as Python does."""


def test_a_pickle_by_hand(tmp_path: Path) -> None:
    assert pickle.loads(BY_HAND) == LISTS
    path = tmp_path / "games"
    path.write_bytes(BY_HAND)
    read = read_records(path)
    assert read.form == "pickle"
    assert read.games.moves[:, :3].tolist() == [[44, 29, 18], [-1, -1, -1], [44, 43, -1]]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(protocol: int, many: Games, tmp_path: Path) -> None:
    games = [[s for s in game if s >= 0] for game in many.moves[:300].tolist()]
    path = tmp_path / "gen10e5__20220324_164123.pickle"
    path.write_bytes(pickle.dumps(games + [games[0], tuple(games[1])], protocol=protocol))
    read = load_games(path)
    assert [[s for s in game if s >= 0] for game in read.moves.tolist()] == [*games, *games[:2]]


class Bomb:
    """Unpickled without care, it runs a command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


class Kept(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return "somewhere" if obj == 44 else None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_bomb_is_refused_by_name_and_not_run(protocol: int, tmp_path: Path) -> None:
    path, made = tmp_path / "games.pickle", tmp_path / "made"
    bomb = pickle.dumps([[44, 29], [Bomb(made)]], protocol=protocol)
    path.write_bytes(bomb)
    with pytest.raises(InputError, match=r"games\.pickle .* it asks for posix\.system"):
        load_games(path, form="pickle")
    assert not made.exists()
    pickle.loads(bomb)
    assert made.exists(), "the bomb is a dud"


def test_names_extensions_and_persistent_ids_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "games"
    with path.open("wb") as file:
        Kept(file, protocol=4).dump([[44]])
    for content, message in (
        (path.read_bytes(), "BINPERSID"),
        (b"\x80\x02]P44\na.", "PERSID"),
        (b"\x80\x02]" + b"\x82Ma.", "EXT1"),
        (b"\x80\x02]\x83M\x01a.", "EXT2"),
        (b"\x80\x02]\x84M\x01\x01\x01a.", "EXT4"),
        (b"\x80\x02]cos\nsystem\na.", r"asks for os\.system"),
        (b"\x80\x02](ios\nsystem\na.", r"asks for os\.system"),
        (b"\x80\x04]\x8c\x02os\x8c\x06system\x93a.", r"asks for os\.system"),
        (pickle.dumps([{1: 2}]), "EMPTY_DICT"),
        (pickle.dumps([[4.5]]), "BINFLOAT"),
        (pickle.dumps([[True]]), "NEWTRUE"),
        (pickle.dumps([b"x"]), "SHORT_BINBYTES"),
    ):
        path.write_bytes(content)
        with pytest.raises(InputError, match=message) as caught:
            load_games(path, form="pickle")
        assert "nothing was run" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BY_HAND[:-1], "truncated"),
        (BY_HAND[:7], "truncated"),
        (BY_HAND + b"]", "left over"),
        (b"\x80\x04K\x2c.", "a pickle of a number, not of a list of games"),
        (b"\x80\x04\x8c\x02f5.", "a pickle of a string"),
        (b"\x80\x04(.", "a pickle of a mark"),
        (b"\x80\x04].]", "left over"),
        (b"\x80\x04]e.", "closes a list that it never opened"),
        (b"\x80\x04a.", "takes more than it has"),
        (b"\x80\x04K\x01K\x02a.", "appends to what is no list"),
        (b"\x80\x04]h\x07a.", "recalls what it never kept"),
        (b"\x80\x04q\x01.", "keeps what it does not have"),
        (b"\x80\x04](I1e9\ne.", "no integer of a square"),
        (b"\x80\x04]\x8a\xff" + b"x" * 255, "an integer of 255 bytes"),
        (pickle.dumps([44, 29]), "game 0, ply 0: a number stands where a list of squares should"),
        (pickle.dumps(["f5"]), "game 0, ply 0: a string stands where"),
        (pickle.dumps([[44, "d6"]]), "game 0, ply 1: a string is no square"),
        (pickle.dumps([[44, [29]]]), "game 0, ply 1: a list is no square"),
        (pickle.dumps([[44, 64]]), r"game 0, ply 1: 64 is no square \(0\.\.63\)"),
        (pickle.dumps([[44, -1]]), "game 0, ply 1: -1 is no square"),
        (pickle.dumps([[44] * 61]), "game 0, ply 60: a game has at most 60 moves, this one 61"),
        (b"\x80\x04]q\x00h\x00a.", "game 0, ply 0: a list is no square"),
    ],
)
def test_what_is_no_list_of_games(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_games(path, form="pickle")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",
        b"\x80\x04X\xff\xff\xff\x7f.",
        b"\x80\x04]r\xff\xff\xff\x7f.",
        b"\x80\x04\x95" + b"\xff" * 8 + b"].",
        b"\x80\x04\x96" + b"\xff" * 7 + b"\x7f.",
        b"\x80\x04" + b"(" * 100_000,
        b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x80\x04]q\x00(" + b"h\x00" * 50_000 + b"e.",
    ],
)
def test_hostile_sizes_cost_nothing(content: bytes, tmp_path: Path) -> None:
    """Python's own unpickler allocates gigabytes for the third of these, 9 bytes long."""
    path = tmp_path / "games"
    path.write_bytes(content)
    started = time.perf_counter()
    with contextlib.suppress(InputError):
        assert len(load_games(path)) == 0
    assert time.perf_counter() - started < 10
