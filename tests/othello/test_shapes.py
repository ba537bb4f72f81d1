"""Frontier, stable discs and regions, against loops over squares and under the symmetries."""

import random

import numpy as np
import pytest
import torch
from reference import truth_by_lists as slow
from reference.othello_by_lists import Replayed
from reference.positions import Position, boards_of, from_games, scattered, set_of

from othellolens.othello import shapes
from othellolens.othello.boards import SYMMETRIES, Boards, transform_squares, unpack
from othellolens.othello.games import Games
from othellolens.othello.squares import name, parse


@pytest.fixture(scope="module")
def positions(replayed: Replayed) -> list[Position]:
    """Many of them late, where there is something to be stable."""
    late = [row for row in from_games(replayed, every=1) if len(row[0] | row[1]) > 45]
    return from_games(replayed, every=17) + late[::7] + scattered(500, seed=2)


def sets(bitboards: torch.Tensor) -> list[set[int]]:
    return [set_of(row) for row in unpack(bitboards)]


def test_frontier_equals_the_reference(positions: list[Position]) -> None:
    got = shapes.frontier(boards_of(positions))
    assert sets(got.mine) == [slow.frontier(mine, theirs) for mine, theirs in positions]
    assert sets(got.theirs) == [slow.frontier(theirs, mine) for mine, theirs in positions]


def test_stable_equals_the_reference(positions: list[Position]) -> None:
    got = shapes.stable(boards_of(positions))
    assert sets(got.mine) == [slow.stable(mine, theirs) for mine, theirs in positions]
    assert sets(got.theirs) == [slow.stable(theirs, mine) for mine, theirs in positions]
    assert sum(1 < len(one) < 60 for one in sets(got.mine)) > 200


def test_stable_by_hand() -> None:
    """A corner, and what leans on it; a disc beside an empty corner is not safe."""
    text = """\
  a b c d e f g h   X to move
1 X X X . . . . O
2 X X . . . . O .
3 X . . . . . . .
4 . . . X O . . .
5 . . . O X . . .
6 . . . . . . . .
7 X . . . . . . .
8 . X . . . . . ."""
    got = shapes.stable(Boards.parse([text]))
    assert {name(s) for s in sets(got.mine)[0]} == {"a1", "b1", "c1", "a2", "b2", "a3"}
    assert {name(s) for s in sets(got.theirs)[0]} == {"h1"}


def test_stable_discs_are_never_turned_over(games: Games) -> None:
    boards = games.replay()
    got = shapes.stable(boards)
    black = torch.where(boards.black, got.mine, got.theirs)
    blacks = torch.where(boards.black, boards.mine, boards.theirs)
    within = boards.at[1:, 0] == boards.at[:-1, 0]
    assert not (black[:-1] & ~blacks[1:])[within].any()
    assert not (black[:-1] & ~black[1:])[within].any()


def test_a_full_board_is_stable_and_has_no_frontier() -> None:
    full = boards_of([(set(range(30)), set(range(30, 64)))])
    assert sets(shapes.stable(full).mine) == [set(range(30))]
    assert not any(x.any() for x in shapes.frontier(full))
    assert (shapes.regions(full).label == shapes.NO_REGION).all()
    assert shapes.regions(full).number().tolist() == [0]


@pytest.mark.parametrize("diagonal", [True, False])
def test_regions_equal_the_reference(diagonal: bool, positions: list[Position]) -> None:
    got = shapes.regions(boards_of(positions), diagonal=diagonal)
    most = 0
    for row, (mine, theirs) in enumerate(positions):
        label, size = [shapes.NO_REGION] * 64, [0] * 64
        regions = slow.regions(mine, theirs, diagonal=diagonal)
        for region in regions:
            for square in region:
                label[square], size[square] = min(region), len(region)
        assert got.label[row].tolist() == label
        assert got.size[row].tolist() == size
        assert int(got.number()[row]) == len(regions)
        assert got.odd()[row].tolist() == [n % 2 == 1 for n in size]
        most = max(most, len(regions))
    assert most > 8


def test_squares_that_touch_at_a_corner() -> None:
    """One region of a1 and b2, and h8, or three of them."""
    holes = {parse("a1"), parse("b2"), parse("h8")}
    board = boards_of([(set(range(64)) - holes, set())])
    assert shapes.regions(board).number().tolist() == [2]
    assert shapes.regions(board, diagonal=False).number().tolist() == [3]
    assert set_of(shapes.regions(board).odd()[0]) == {parse("h8")}


def test_a_chessboard_of_holes_and_a_long_maze() -> None:
    white = {square for square in range(64) if (square // 8 + square) % 2}
    snake = {8 * letter + digit for letter in range(0, 8, 2) for digit in range(8)}
    snake |= {8 * 1 + 7, 8 * 3 + 0, 8 * 5 + 7}
    boards = boards_of([(white, set()), (set(range(64)) - snake, set())])
    assert shapes.regions(boards, diagonal=False).number().tolist() == [32, 1]
    assert shapes.regions(boards, diagonal=True).number().tolist() == [1, 1]


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_shapes_commute_with_the_symmetries(symmetry: int, positions: list[Position]) -> None:
    boards = boards_of(positions)
    turned, target = boards.transformed(symmetry), torch.from_numpy(transform_squares(symmetry))
    for shape in (shapes.frontier, shapes.stable):
        for before, after in zip(shape(boards), shape(turned), strict=True):
            assert torch.equal(unpack(after)[:, target], unpack(before))
    for diagonal in (True, False):
        before, after = (shapes.regions(x, diagonal=diagonal) for x in (boards, turned))
        assert torch.equal(after.size[:, target], before.size)
        assert torch.equal(after.number(), before.number())


def test_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = boards_of(scattered(40, seed=random.Random(1).randrange(100)))
    whole = shapes.stable(boards), shapes.regions(boards)
    monkeypatch.setattr("othellolens.othello.directions._CHUNK", 7)
    assert torch.equal(shapes.stable(boards).mine, whole[0].mine)
    assert torch.equal(shapes.regions(boards).label, whole[1].label)
    np.testing.assert_array_equal(shapes.regions(boards).size, whole[1].size)
