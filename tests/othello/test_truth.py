"""What moves do, against loops over squares and under the symmetries of the board."""

import pytest
import torch
from reference import truth_by_lists as slow
from reference.othello_by_lists import EARLY_PASS, Replayed
from reference.positions import Position, boards_of, from_games, listed, scattered, set_of

from othellolens.errors import InputError
from othellolens.othello import truth
from othellolens.othello.boards import (
    SYMMETRIES,
    Boards,
    pack,
    to_tensor,
    transform_squares,
    unpack,
)
from othellolens.othello.directions import DIRECTIONS
from othellolens.othello.games import Games
from othellolens.othello.squares import name, parse


@pytest.fixture(scope="module")
def positions(replayed: Replayed) -> list[Position]:
    return from_games(replayed, every=17) + scattered(300, seed=2)


def union(flips: dict[int, set[int]]) -> set[int]:
    return {square for line in flips.values() for square in line}


def mask(flips: dict[int, set[int]]) -> int:
    return sum(1 << direction for direction in flips)


def moved(bitboards: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Bitboards of any shape under a symmetry."""
    squares = unpack(bitboards)
    turned = torch.zeros_like(squares)
    turned[..., torch.from_numpy(transform_squares(symmetry))] = squares
    return to_tensor(pack(turned.numpy()))


def turned(masks: torch.Tensor, symmetry: int) -> torch.Tensor:
    """Masks of directions under a symmetry: where d4's neighbours go says where directions go."""
    target, centre = transform_squares(symmetry), parse("d4")
    steps = [direction.step for direction in DIRECTIONS]
    out = torch.zeros_like(masks)
    for number, step in enumerate(steps):
        goes_to = steps.index(int(target[centre + step] - target[centre]))
        out |= ((masks >> number) & 1) << goes_to
    return out


def test_directions_are_named_as_the_board_is_drawn() -> None:
    around = [name(parse("d4") + direction.step) for direction in DIRECTIONS]
    assert around == ["d3", "e3", "e4", "e5", "d5", "c5", "c4", "c3"]
    assert [direction[1:] for direction in DIRECTIONS] == slow.AROUND
    for number, direction in enumerate(DIRECTIONS):
        assert DIRECTIONS[(number + 4) % 8].step == -direction.step


def test_turns_equal_the_reference(replayed: Replayed) -> None:
    got = truth.turns(listed(*(game for game, _ in replayed)).replay())
    right = [row for game, _ in replayed for row in slow.movers(game)]
    assert len(got) == len(right)
    assert got.square.tolist() == [square for game, _ in replayed for square in game]
    assert got.black.tolist() == [black for black, _, _ in right]
    assert got.passed.tolist() == [passed for _, passed, _ in right]
    assert got.directions.tolist() == [mask(flips) for _, _, flips in right]
    assert [set_of(x) for x in unpack(got.flips)] == [union(flips) for _, _, flips in right]
    assert sum(passed for _, passed, _ in right) > 50


def test_the_pass_that_is_known() -> None:
    got = truth.turns(listed(EARLY_PASS, EARLY_PASS[:8]).replay())
    assert got.passed.nonzero().flatten().tolist() == [8]
    assert (got.black[7:9] == 0).all()
    assert got.at[[8, 10]].tolist() == [[0, 8], [1, 0]]


def test_the_first_move_by_hand() -> None:
    got = truth.turns(listed([parse("f5"), parse("d6")]).replay())
    assert [name(s) for s in got.square.tolist()] == ["f5", "d6"]
    assert [[name(s) for s in set_of(x)] for x in unpack(got.flips)] == [["e5"], ["d5"]]
    assert [DIRECTIONS[int(d).bit_length() - 1].name for d in got.directions] == ["left", "up"]


def test_no_boards_have_no_turns(games: Games) -> None:
    assert len(truth.turns(games[:0].replay())) == 0
    assert len(truth.options(games[:0].replay()).flips) == 0


def test_games_cut_short_have_the_same_turns(games: Games) -> None:
    boards = games.replay()
    early = boards.at[:, 1] < 20
    whole, cut = truth.turns(boards), truth.turns(boards[early])
    assert torch.equal(whole.flips[early], cut.flips)
    assert torch.equal(whole.passed[early], cut.passed)


@pytest.mark.parametrize("rows", [slice(1, 9), slice(0, 9, 2), torch.tensor([0, 1, 1])])
def test_rows_out_of_order_are_refused(rows: slice | torch.Tensor, games: Games) -> None:
    with pytest.raises(InputError, match=r"pass all rows of games\.replay\(\), in order"):
        truth.turns(games.replay()[rows])


def test_boards_that_are_no_game_are_refused(games: Games) -> None:
    boards = games.replay()
    wrong = Boards(boards.mine * 0, boards.theirs, boards.at, boards.black)
    with pytest.raises(InputError, match=r"pass all rows of games\.replay\(\)"):
        truth.turns(wrong)


def test_options_equal_the_reference(positions: list[Position]) -> None:
    got = truth.options(boards_of(positions))
    counts = got.counts()
    for row, (mine, theirs) in enumerate(positions):
        right = [slow.flips_by_direction(square, mine, theirs) for square in range(64)]
        assert [set_of(x) for x in unpack(got.flips[row])] == [union(flips) for flips in right]
        assert got.directions[row].tolist() == [mask(flips) for flips in right]
        assert counts[row].tolist() == [len(union(flips)) for flips in right]
    assert len({int(x) for x in got.directions.unique()}) > 60


def test_the_option_that_was_played_is_the_turn(games: Games) -> None:
    boards = games.replay()
    chosen, done = truth.options(boards), truth.turns(boards)
    follows = (boards.at[1:, 1] > 0).nonzero().flatten()
    square = done.square[follows + 1].long()
    assert torch.equal(chosen.flips[follows, square], done.flips[follows + 1])
    assert torch.equal(chosen.directions[follows, square], done.directions[follows + 1])


def test_mobility_equals_the_reference(positions: list[Position]) -> None:
    boards = boards_of(positions)
    got = truth.mobility(boards)
    right = {
        "mine": slow.legal,
        "theirs": lambda mine, theirs: slow.legal(theirs, mine),
        "potential_mine": slow.potential,
        "potential_theirs": lambda mine, theirs: slow.potential(theirs, mine),
    }
    for column, expected in right.items():
        found = [set_of(x) for x in unpack(getattr(got, column))]
        assert found == [expected(*position) for position in positions], column
    assert torch.equal(got.mine, boards.legal())
    assert not (got.mine & ~got.potential_mine).any()


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_truth_commutes_with_the_symmetries(symmetry: int, positions: list[Position]) -> None:
    boards = boards_of(positions)
    before, after = truth.options(boards), truth.options(boards.transformed(symmetry))
    target = torch.from_numpy(transform_squares(symmetry))
    assert torch.equal(after.flips[:, target], moved(before.flips, symmetry))
    assert torch.equal(after.directions[:, target], turned(before.directions, symmetry))
    one, other = truth.mobility(boards), truth.mobility(boards.transformed(symmetry))
    for column in ("mine", "theirs", "potential_mine", "potential_theirs"):
        assert torch.equal(getattr(other, column), moved(getattr(one, column), symmetry))


@pytest.mark.parametrize("symmetry", [0, 3, 4, 7])
def test_turns_commute_with_the_symmetries_that_keep_the_start(symmetry: int, games: Games) -> None:
    boards = games.replay()
    before, after = truth.turns(boards), truth.turns(boards.transformed(symmetry))
    assert torch.equal(after.flips, moved(before.flips, symmetry))
    assert torch.equal(after.directions, turned(before.directions, symmetry))
    assert torch.equal(after.passed, before.passed)
    target = torch.from_numpy(transform_squares(symmetry))
    assert torch.equal(after.square.long(), target[before.square.long()])
