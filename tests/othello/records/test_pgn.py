"""PGN as liveothello writes it, and as others do."""

import contextlib
import time
from pathlib import Path

import pytest
from reference import othello_by_lists as slow

from othellolens.errors import InputError
from othellolens.othello.records import Meta, load_games, read_records

HEAD = """[Event "World Championship"]
[Date "2012.11.03"]
[Round "2"]
[Black "Tak\xe1cs \\"Gy\\""]
[White "Murakami Takeshi"]
[Result "{}"]

"""
MOVES = "1. f5 f6 3. d3 g5 5. h5 h4 7. g7 h6 {}e7 f7\n"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_tags_and_moves_as_liveothello_writes_them(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "games"
    text = HEAD.format("38-26") + "1. e6 f4 3. e3 f6\n5. g5 d6 7. e7 f5 9. c5 13-0\n\n"
    path.write_bytes((text + HEAD.format("1-0") + MOVES.format("9. ")).encode(encoding))
    read = read_records(path)
    assert read.form == "pgn"
    assert read.games.moves[0, :10].tolist() == [*slow.WIPE_OUT, -1]
    assert read.games.moves[1, :11].tolist() == [*slow.EARLY_PASS, -1]
    names = ('Tak\xe1cs "Gy"', "Murakami Takeshi", "World Championship", "2012.11.03", "2")
    assert list(read.meta) == [Meta(*names, score=38), Meta(*names)]
    assert read.ends.discs.tolist()[0] == [13, 0]
    assert read.agreeing() == 0.0


@pytest.mark.parametrize(
    "moves",
    [
        MOVES.format("-- "),
        MOVES.format("9. pa 10. "),
        MOVES.format("pass\n"),
        "1. f5 f6 2. d3 g5 3. h5 h4 4. g7 h6 5. -- e7 6. f7 *",
        "1.F5 F6 3.D3 G5 5.H5 H4 7.G7 H6 9.E7 F7",
        "1. f5 {the tiger?} f6 $1 3. d3 g5 5. h5 h4 7. g7 h6 9. e7 f7 ; a pass\n1-0",
        "1... f5 f6 3... d3 g5 h5 h4 g7 h6 e7 f7 1/2-1/2",
    ],
)
def test_ways_to_write_the_moves(moves: str, tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text(moves + "\n\n" + HEAD.format("*") + moves)
    read = read_records(path)
    assert read.games.moves[:, :11].tolist() == [[*slow.EARLY_PASS, -1]] * 2
    assert read.ends.passes.tolist() == [1, 1]


def test_games_without_tags_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text("1. f5 d6\n1. f5 f6 3. e6\n* 1. e6 0-1\n")
    assert load_games(path).lengths().tolist() == [2, 3, 1]


def test_forfeits_have_no_moves(tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text(HEAD.format("64-0") + "64-0\n\n" + HEAD.format("40-24") + "1. f5 d6 40-24")
    read = read_records(path)
    assert read.games.lengths().tolist() == [0, 2]
    assert [one.score for one in read.meta] == [64, 40]


@pytest.mark.parametrize(
    ("result", "score"),
    [("38-26", 38), ("33-20", 44), ("20-33", 20), ("30-30", 32), ("64-0", 64), ("0-13", 0)],
)
def test_scores(result: str, score: int, tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text(HEAD.format(result) + "1. f5 d6")
    assert read_records(path).meta[0].score == score


def test_bad_games_are_named_or_skipped(tmp_path: Path) -> None:
    path = tmp_path / "games"
    games = [
        HEAD.format("*") + "1. f5 d6 *\n",
        HEAD.format("*") + "1. f5 x6 *\n",
        HEAD.format("*") + "1. f5 d6 (1. e6) *\n",
        HEAD.format("*").replace("]", "", 1) + "1. f5 *\n",
        HEAD.format("*") + "1. f5 {over\ntwo} d6 *\n",
        HEAD.format("*") + "1. f5 f4 3. a1 *\n",
        HEAD.format("*") + "1. f5 f6 *\n",
    ]
    path.write_text("\n".join(games))
    found = read_records(path, illegal="skip")
    assert found.numbers.tolist() == [0, 6]
    assert len(found.meta) == 2
    reasons = [one.reason for one in found.skipped]
    assert [one.game for one in found.skipped] == [1, 2, 3, 4, 5]
    assert "the game of line 10: 'x6' is not a square" in reasons[0]
    assert "variations and comments over many lines" in reasons[1]
    assert "is no tag: write [Name" in reasons[2]
    assert "variations and comments over many lines" in reasons[3]
    assert reasons[4].startswith("a1 is illegal here; legal were:")
    with pytest.raises(InputError, match=r"games, game 1, ply 1: the game of line 10: 'x6'"):
        load_games(path)


@pytest.mark.parametrize(
    "line",
    ["1" * 200_000, '[A "b"]' * 20_000, "{" * 100_000, "." * 100_000, '[A "' + "\\\\" * 100_000]
    + ["[" * 100_000, "2." * 50_000 + "x", "1.. " * 20_000 + "x", "[A " + " " * 100_000 + "x"],
)
def test_hostile_lines_cost_little(line: str, tmp_path: Path) -> None:
    path = tmp_path / "games"
    path.write_text('[Event "x"]\n' + line)
    started = time.perf_counter()
    with contextlib.suppress(InputError):
        load_games(path)
    assert time.perf_counter() - started < 10
