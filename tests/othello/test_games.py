"""Games against the slow reference: replay, random play, and what is refused."""

import random
import re

import numpy as np
import pytest
import torch
from reference import othello_by_arrays as arrays
from reference import othello_by_lists as slow
from reference.othello_by_lists import Replayed

from othellolens.errors import InputError
from othellolens.othello import games as module
from othellolens.othello.boards import unpack
from othellolens.othello.games import (
    Games,
    IllegalMoveError,
    random_batches,
    random_games,
    random_origin,
    share_games,
)
from othellolens.othello.squares import name


def listed(*games: list[int], plies: int = 60) -> Games:
    moves = torch.full((len(games), plies), -1, dtype=torch.int8)
    for row, game in enumerate(games):
        moves[row, : len(game)] = torch.tensor(game, dtype=torch.int8)
    return Games(moves, "by hand")


def squares(board: torch.Tensor) -> set[int]:
    """Where the single row has a disc."""
    return set(unpack(board)[0].nonzero().flatten().tolist())


# Replay


def test_replay_equals_the_reference(replayed: Replayed) -> None:
    boards = listed(*(game for game, _ in replayed)).replay()
    rows = [(g, t) for g, (_, after) in enumerate(replayed) for t in range(len(after))]
    assert boards.at.tolist() == [list(row) for row in rows]
    spelled, legal = boards.squares(), unpack(boards.legal())
    for row, (g, t) in enumerate(rows):
        right = replayed[g][1][t]
        mine, theirs, moves = (
            set(x.nonzero().flatten().tolist()) for x in (*spelled[row, :2], legal[row])
        )
        assert (mine, theirs, moves) == (right.mine, right.theirs, right.legal), (g, t)
        assert bool(boards.black[row]) == right.black, (g, t)


def test_the_games_of_the_reference_hold_what_they_should(replayed: Replayed) -> None:
    """Passes, games that end early, a wipe-out: without them the comparison proves little."""
    assert len(replayed) >= 200
    assert sum(any(row.passed for row in after) for _, after in replayed) > 50
    assert sum(len(game) < 60 for game, _ in replayed) > 4
    assert not replayed[0][1][-1].mine


def test_the_table_is_the_replay_with_its_axes_kept(replayed: Replayed) -> None:
    games = listed(*(game for game, _ in replayed))
    table, boards = games.replay_table(), games.replay()
    played = games.moves != -1
    assert not played.all()
    for x in table:
        assert x.shape == games.moves.shape
        assert not x[~played].any()
    for x, y in zip(table, (boards.mine, boards.theirs, boards.legal(), boards.black), strict=True):
        assert torch.equal(x[played], y)


def test_the_wipe_out() -> None:
    boards = listed(slow.WIPE_OUT).replay()
    assert len(boards) == 9
    last = boards[8:9]
    assert squares(last.mine) == set()
    assert len(squares(last.theirs)) == 13
    assert squares(last.legal()) == set()
    assert not bool(last.black)


def test_black_is_by_the_rules_and_not_by_parity() -> None:
    boards = listed(slow.EARLY_PASS).replay()
    # After each move: Black moves next on every second; after the pass White moves twice.
    by_rules = [False, True, False, True, False, True, False, False, True, False]
    assert boards.black.tolist() == by_rules
    assert squares(boards.mine[7:8]).isdisjoint(squares(boards.theirs[7:8]))
    assert 28 in squares(boards.mine[7:8] | boards.theirs[7:8])
    assert slow.EARLY_PASS[8] in squares(boards.legal()[7:8])


def test_row_rule(games: Games) -> None:
    """Row (g, t): the board holds move t, move t+1 is legal on it, and t+1 is another row."""
    boards, table = games.replay(), games.replay_table()
    assert len(boards) == int(games.lengths().sum())
    assert torch.equal(boards.at[:, 0], boards.at[:, 0].sort().values)
    for row in range(0, len(boards), 17):
        g, t = boards.at[row].tolist()
        one = boards[row : row + 1]
        filled = squares(one.mine | one.theirs)
        assert filled == {27, 28, 35, 36, *games.moves[g, : t + 1].tolist()}
        assert torch.equal(one.mine[0], table.mine[g, t])
        if t + 1 < int(games.lengths()[g]):
            assert int(games.moves[g, t + 1]) in squares(one.legal())


def test_replay_does_not_depend_on_the_chunk(games: Games, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = games.replay_table()
    monkeypatch.setattr(module, "_CHUNK", 5)
    for x, y in zip(games.replay_table(), whole, strict=True):
        assert torch.equal(x, y)


def test_a_hundred_thousand_games_equal_those_of_plain_arrays() -> None:
    """Random play to the same bits, and every board of it, passes and early ends among them."""
    games = random_games(100_000, seed=12)
    for first in range(0, len(games), 10_000):
        some = games[first : first + 10_000]
        numbers = np.arange(first, first + len(some), dtype=np.uint64)
        np.testing.assert_array_equal(arrays.play(numbers, 12), some.moves.numpy())
        right = arrays.replay(some.moves.numpy())
        for x, y in zip(some.replay_table(), right, strict=True):
            np.testing.assert_array_equal(x.numpy().view(y.dtype), y)
    assert int(games.lengths().min()) < 40


def test_replay_of_the_beginning_is_the_beginning_of_the_replay(games: Games) -> None:
    short = Games(games.moves[:, :20], "short")
    assert torch.equal(short.replay_table().mine, games.replay_table().mine[:, :20])


# What is refused


def test_an_illegal_move_names_game_ply_square_and_what_was_legal() -> None:
    f5, d6, a1 = 44, 29, 0
    with pytest.raises(IllegalMoveError) as caught:
        listed([f5, d6], [f5, d6, a1], [f5, d6]).replay()
    legal = [name(s) for s in sorted(slow.replay([f5, d6])[-1].legal)]
    expected = f"game 1, ply 2: a1 is illegal here; legal were: {' '.join(legal)}"
    assert str(caught.value) == expected
    assert isinstance(caught.value, InputError)


def test_the_game_is_counted_from_the_first_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 5)
    with pytest.raises(IllegalMoveError, match="game 12, ply 1: a1 is illegal"):
        listed(*([44, 29],) * 12, [44, 0], [44]).replay()


@pytest.mark.parametrize("square", [27, 44, 26])
def test_a_square_that_is_taken_or_flips_nothing_is_illegal(square: int) -> None:
    with pytest.raises(IllegalMoveError, match=f"game 0, ply 1: {name(square)} is illegal"):
        listed([44, square]).replay()


def test_a_move_after_the_end_of_the_rules_is_illegal() -> None:
    with pytest.raises(IllegalMoveError, match="game 0, ply 9: a1 .* none, the game is over"):
        listed([*slow.WIPE_OUT, 0]).replay()


@pytest.mark.parametrize("gap", [1, 2])
def test_a_move_after_the_end_mark_is_refused(gap: int) -> None:
    message = rf"game 0, ply {1 + gap}: a move \(29\) stands after the end"
    with pytest.raises(IllegalMoveError, match=message):
        listed([44, *[-1] * gap, 29]).replay()


@pytest.mark.parametrize("number", [-2, -5, -128, 64, 108, 127])
def test_a_number_that_is_no_square_is_refused(number: int) -> None:
    """108 is 64 + 44, so that it would be f5 if its high bits were dropped."""
    with pytest.raises(IllegalMoveError, match=rf"game 0, ply 0: {number} is not a square"):
        listed([number]).replay()


def test_a_pass_that_the_rules_do_not_give_is_illegal() -> None:
    """Black may not move twice in a row: what is legal is what is legal for White."""
    black_again = slow.legal_moves(slow.board_of({28, 35, 36, 44}, {27}), "X")
    illegal = black_again - slow.replay([44])[0].legal
    assert illegal
    for square in illegal:
        with pytest.raises(IllegalMoveError):
            listed([44, square]).replay()


# Slices and lists


def test_slices(games: Games) -> None:
    for cut in (slice(3, 9), slice(None, 4), slice(-5, None), slice(40, 50), slice(0, 0)):
        assert torch.equal(games[cut].moves, games.moves[cut])
        assert len(games[cut]) == len(games.moves[cut])
    assert games[3:9].origin != games.origin
    assert games[3:9].origin != games[3:10].origin


@pytest.mark.parametrize("cut", [slice(None, None, 2), slice(None, None, -1)])
def test_games_are_cut_in_one_piece(games: Games, cut: slice) -> None:
    with pytest.raises(InputError, match=re.escape("games[start:stop]")):
        games[cut]


def test_lengths(replayed: Replayed) -> None:
    games = listed(*(game for game, _ in replayed))
    assert games.lengths().tolist() == [len(game) for game, _ in replayed]


def test_no_games() -> None:
    for none in (random_games(0, seed=0), random_games(3, seed=0)[3:], Games.cat([])):
        assert len(none) == 0
        assert none.moves.shape == (0, 60)
        assert none.moves.dtype == torch.int8
        assert len(none.lengths()) == 0
        assert len(none.replay()) == 0
        assert none.replay().at.shape == (0, 2)
        assert none.replay_table().mine.shape == (0, 60)


def test_cat_puts_one_after_the_other(games: Games) -> None:
    assert torch.equal(Games.cat([games[:5], games[5:]]).moves, games.moves)
    both = Games.cat([games[:2], listed([44])])
    assert "by hand" in both.origin
    assert "seed=0" in both.origin


def test_neighbouring_ranges_of_a_seed_count_as_one() -> None:
    parts = [random_games(5, seed=3, first=first) for first in (10, 15, 20)]
    assert Games.cat(parts).origin == random_games(15, seed=3, first=10).origin
    apart = Games.cat([parts[0], parts[2]]).origin
    assert apart == f"{parts[0].origin} + {parts[2].origin}"
    mixed = Games.cat([parts[0], random_games(5, seed=4, first=15)]).origin
    assert mixed == f"{parts[0].origin} + {random_origin(4, 15, 5)}"


def test_ranges_of_which_a_part_is_missing_do_not_count_as_one() -> None:
    parts = [random_games(6, seed=3)[:2], random_games(6, seed=3, first=6)]
    assert Games.cat(parts).origin != random_origin(3, 0, 12)


def test_ranges_with_other_games_among_them_do_not_count_as_one() -> None:
    first = Games.cat([random_games(6, seed=3), listed([44])])
    whole = Games.cat([first, random_games(6, seed=3, first=6)])
    assert "by hand" in whole.origin


@pytest.mark.parametrize(
    ("first", "count", "shared"), [(0, 10, False), (20, 5, False), (5, 6, True), (12, 2, True)]
)
def test_share_games(first: int, count: int, shared: bool) -> None:
    ours = random_origin(0, 10, 10)
    assert share_games(ours, random_origin(0, first, count)) is shared
    assert share_games(random_origin(0, first, count), ours) is shared
    assert share_games(f"file x + {ours}", random_origin(0, first, count)) is shared
    assert not share_games(ours, random_origin(1, first, count))
    assert not share_games(ours, "file x sha256=0")


# Random play


def test_random_games_are_whole_games_by_the_rules() -> None:
    games = random_games(60, seed=11)
    assert games.moves.shape == (60, 60)
    assert games.origin == "random seed=11 games=0..60"
    for row in games.moves.tolist():
        moves = [square for square in row if square != -1]
        assert row[: len(moves)] == moves
        assert not slow.replay(moves)[-1].legal


def test_random_games_also_end_early() -> None:
    games = random_games(3000, seed=11)
    assert len(games.replay()) == int(games.lengths().sum())
    table = games.replay_table()
    last = table.legal.gather(1, games.lengths()[:, None] - 1)
    assert not last.any()
    assert int(games.lengths().min()) < 55


def test_the_same_seed_gives_the_same_games() -> None:
    """Pinned: whoever says "seed 0, games 0 to 2" means these games, whatever the version."""
    begin = [[name(s) for s in row] for row in random_games(3, seed=0).moves[:, :6].tolist()]
    assert begin == GOLDEN
    far = random_games(1, seed=7, first=10**9).moves[0, :6].tolist()
    assert [name(s) for s in far] == GOLDEN_FAR


GOLDEN = [
    ["c4", "e3", "f4", "c3", "f5", "b4"],
    ["d3", "c5", "e6", "e3", "d6", "f5"],
    ["f5", "d6", "c4", "g5", "c6", "c5"],
]
GOLDEN_FAR = ["e6", "d6", "c6", "f6", "g6", "d7"]


def test_games_do_not_depend_on_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_games(40, seed=5).moves
    assert torch.equal(random_games(13, seed=5, first=20).moves, whole[20:33])
    stream = random_batches(8, seed=5, first=8)
    batches = Games.cat([next(stream) for _ in range(4)])
    assert torch.equal(batches.moves, whole[8:])
    assert batches.origin == random_origin(5, 8, 32)
    monkeypatch.setattr(module, "_CHUNK", 7)
    assert torch.equal(random_games(40, seed=5).moves, whole)
    assert torch.equal(random_games(13, seed=5, first=20).moves, whole[20:33])


@pytest.mark.parametrize("threads", [1, 3])
def test_games_do_not_depend_on_the_threads(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = random_games(1000, seed=5)
    boards = whole.replay()
    monkeypatch.setattr(module, "_CHUNK", 70)
    monkeypatch.setattr("torch.get_num_threads", lambda: threads)
    again = random_games(1000, seed=5)
    assert torch.equal(again.moves, whole.moves)
    for column in ("mine", "theirs", "at", "black"):
        assert torch.equal(getattr(again.replay(), column), getattr(boards, column))


def test_games_are_all_different_and_so_are_seeds() -> None:
    moves = torch.cat([random_games(500, seed=seed).moves for seed in (0, 1, -1, 2**40)])
    assert len(moves.unique(dim=0)) == len(moves)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(InputError, match="must not be negative: got -1 and 0"):
        random_games(-1, seed=0)
    with pytest.raises(InputError, match="got 1 and -3"):
        random_games(1, seed=0, first=-3)


def p_value(chi_squared: float, freedom: int) -> float:
    """Chance of so large a value if all is as it should be."""
    half = torch.tensor([freedom / 2, chi_squared / 2], dtype=torch.float64)
    return float(torch.special.gammaincc(half[0], half[1]))


def ranks(games: Games, ply: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each game that has this ply, the move's rank among the legal moves, and their number."""
    if ply == 0:
        legal = torch.zeros(len(games), 64, dtype=torch.bool)
        legal[:, sorted(slow.legal_moves(slow.start(), "X"))] = True
    else:
        legal = unpack(games.replay_table().legal[:, ply - 1])
    move = games.moves[:, ply].long()
    played = move >= 0
    below = torch.arange(64)[None] < move[:, None]
    return (legal & below).sum(1)[played], legal.sum(1)[played]


def chi_squared(rank: torch.Tensor, number: torch.Tensor) -> tuple[float, int]:
    total, freedom = 0.0, 0
    for n in number.unique().tolist():
        found = rank[number == n].bincount(minlength=n).double()
        mean = found.sum() / n
        if n > 1 and mean >= 5:
            total += float(((found - mean) ** 2 / mean).sum())
            freedom += n - 1
    return total, freedom


@pytest.fixture(scope="module")
def many() -> Games:
    return random_games(12_000, seed=21)


@pytest.mark.parametrize("ply", [0, 1, 2, 5, 11, 20, 33, 45, 55])
def test_moves_are_uniform_over_the_legal_ones(ply: int, many: Games) -> None:
    total, freedom = chi_squared(*ranks(many, ply))
    assert freedom >= 2
    assert p_value(total, freedom) > 1e-4


def test_plies_and_neighbouring_games_are_independent(many: Games) -> None:
    first, second = ranks(many, 0)[0], ranks(many, 1)[0]
    pairs = [
        (4 * second + first, 12),
        (4 * first[:-1] + first[1:], 16),
        (4 * second[:-1] + first[1:], 12),
        (3 * second[:-1] + second[1:], 9),
    ]
    for joint, n in pairs:
        assert p_value(*chi_squared(joint, torch.full_like(joint, n))) > 1e-4


def test_the_test_of_uniformity_can_fail() -> None:
    chance = random.Random(0)
    number = torch.full((12_000,), 8)
    even = torch.tensor([chance.randrange(8) for _ in range(12_000)])
    skewed = torch.where(torch.arange(12_000) % 20 == 0, 0, even)
    assert p_value(*chi_squared(even, number)) > 1e-3
    assert p_value(*chi_squared(skewed, number)) < 1e-4
