"""Plain move text, written by hand in the ways that players write it."""

from pathlib import Path

import pytest
from reference import othello_by_lists as slow

from othellolens.errors import InputError
from othellolens.othello.records import load_games, parse_game, read_records

PASSED = "f5f6d3g5h5h4g7h6{}e7f7"
"""The slow reference's EARLY_PASS, with a place for the pass."""


@pytest.mark.parametrize("written", ["", "--", " -- ", "pa", "PASS", " pass ", "PA"])
@pytest.mark.parametrize("upper", [False, True])
def test_passes_may_be_written(written: str, upper: bool, tmp_path: Path) -> None:
    path = tmp_path / "games.txt"
    game = PASSED.format(written)
    path.write_text((game.upper() if upper else game) + "\n")
    read = read_records(path)
    assert read.form == "text"
    assert read.games.moves[0, :10].tolist() == slow.EARLY_PASS
    assert read.ends.passes.tolist() == [1]
    assert parse_game(game) == slow.EARLY_PASS


def test_line_ends_marks_and_blanks(tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_bytes(b"\xef\xbb\xbff5d6\r\n\r\n F5 d6 c3\rf5\tf6\n")
    assert load_games(path).lengths().tolist() == [2, 3, 2]


def test_a_mark_before_a_long_text_does_not_hide_it(tmp_path: Path) -> None:
    path = tmp_path / "games"
    # The first 4096 bytes end within a letter of two bytes.
    line = b'[Event "' + "é".encode() * 3000 + b'"]\n'
    for shift in (b"", b'[Round "1"]\n'):
        path.write_bytes(b"\xef\xbb\xbf" + shift + line + b"1. f5 d6 *")
        assert load_games(path).lengths().tolist() == [2]


def test_bad_lines_are_named_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "games.txt"
    lines = ["f5d6c3", "", "f5d6x9", "f5f4a1", "f5--d6", "f5 d6 \xe9", "f5d6", "f5" * 61]
    path.write_bytes("\n".join(lines).encode("latin-1"))
    found = read_records(path, illegal="skip")
    assert found.numbers.tolist() == [0, 5]
    assert [(one.game, one.ply, one.reason[:31]) for one in found.skipped] == [
        (1, 2, "line 3: 'x9' is not a square in"),
        (2, 2, "a1 is illegal here; legal were:"),
        (3, 1, "a pass is written here; legal w"),
        (4, 2, "line 6: '\xe9' is not a square in "),
        (6, 60, "line 8: a game has at most 60 m"),
    ]
    with pytest.raises(
        InputError, match=r"games\.txt, game 1, ply 2: line 3: 'x9' is not a square"
    ):
        load_games(path)


def test_other_texts_are_no_games(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    for text in ("# Games\n", "Once upon a time", "44 29 18", "game,moves\n1,f5d6\n"):
        path.write_text(text)
        with pytest.raises(InputError, match="of no known form: games are WTHOR, PGN, text"):
            load_games(path)
