"""Repeats, overlap, openings and skewed sets, against counting by hand."""

from collections import Counter

import numpy as np
import pytest
import torch
from reference import othello_by_lists as slow
from reference.othello_by_lists import EARLY_PASS, WIPE_OUT, squares
from reference.positions import listed

from othellolens.errors import InputError
from othellolens.othello import distinct
from othellolens.othello.boards import SYMMETRIES, transform_squares
from othellolens.othello.distinct import first_equal, words
from othellolens.othello.games import Games, IllegalMoveError, random_games, share_games
from othellolens.othello.statistics import (
    KEEP_START,
    census,
    openings,
    overlap,
    skewed,
    split,
    turned_to_f5,
)


def turned(games: Games, symmetry: int) -> Games:
    target = [*transform_squares(symmetry).tolist(), -1]
    return Games(torch.tensor(target, dtype=torch.int8)[games.moves.long()], "turned")


def lists(games: Games) -> list[tuple[int, ...]]:
    return [tuple(square for square in row if square != -1) for row in games.moves.tolist()]


def under_all(game: tuple[int, ...]) -> set[tuple[int, ...]]:
    """A game under every symmetry that keeps the start position, found by looking at it."""
    black, white = {28, 35}, {27, 36}
    found = set()
    for symmetry in SYMMETRIES:
        target = transform_squares(symmetry).tolist()
        if {target[s] for s in black} == black and {target[s] for s in white} == white:
            found.add(tuple(target[square] for square in game))
    return found


@pytest.fixture(scope="module")
def some() -> Games:
    """Short random games, so that many are alike, with full ones and two odd ones."""
    short = Games(random_games(300, seed=4).moves[:, :4], "short")
    moves = torch.full((300, 60), -1, dtype=torch.int8)
    moves[:, :4] = short.moves
    return Games.cat(
        [Games(moves, "short"), random_games(40, seed=5), listed(WIPE_OUT, EARLY_PASS)]
    )


# Symmetry


def test_four_symmetries_keep_games_games_and_four_never_do(games: Games) -> None:
    for symmetry in SYMMETRIES:
        image = turned(games, symmetry)
        if symmetry in KEEP_START:
            assert len(image.replay()) == len(games.replay())
        else:
            for game in range(len(games)):
                with pytest.raises(IllegalMoveError, match="ply 0"):
                    image[game : game + 1].replay()


def test_turned_to_f5_is_one_form_of_the_four(some: Games) -> None:
    forms = lists(turned_to_f5(some))
    for game, form in zip(lists(some), forms, strict=True):
        assert form[0] == squares("f5")[0]
        assert form in under_all(game)
    for symmetry in KEEP_START:
        assert lists(turned_to_f5(turned(some, symmetry))) == forms
    turned_to_f5(some).replay()


def test_a_game_that_cannot_be_turned_is_refused(games: Games) -> None:
    with pytest.raises(InputError, match="game 1 begins with square 0, but Black can only begin"):
        turned_to_f5(listed([44], [0, 3]))
    assert turned_to_f5(listed([], [44])).moves[:, 0].tolist() == [-1, 44]
    assert len(turned_to_f5(games[:0])) == 0


# Equal rows


def test_first_equal_is_the_first_that_is_equal(some: Games) -> None:
    seen: dict[tuple[int, ...], int] = {}
    right = [seen.setdefault(game, number) for number, game in enumerate(lists(some))]
    assert first_equal(words(some.moves)).tolist() == right
    assert len(set(right)) < len(right) - 50
    assert len(first_equal(words(some.moves[:0]))) == 0


@pytest.mark.parametrize("bits", [0, 1, 3])
def test_collisions_never_count(bits: int, some: Games, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hash of so few bits that different games meet all the time, mixed with equal ones."""
    rows, honest = words(some.moves), distinct._hash
    right = first_equal(rows)
    monkeypatch.setattr(distinct, "_hash", lambda x: honest(x) & np.uint64((1 << bits) - 1))
    np.testing.assert_array_equal(first_equal(rows), right)


def test_the_order_of_words_is_that_of_the_lists(some: Games) -> None:
    rows = [tuple(row) for row in words(some.moves).tolist()]
    in_order = sorted(range(len(rows)), key=rows.__getitem__)
    right = sorted(range(len(rows)), key=lists(some).__getitem__)
    assert [lists(some)[i] for i in in_order] == [lists(some)[i] for i in right]
    assert words(some.moves[:, :9]).shape == (len(some), 2)


# Census and overlap


def test_census_counts_what_is_there(some: Games) -> None:
    got, every = census(some), lists(some)
    assert got.games == 342
    assert got.repeats == len(every) - len(set(every))
    forms = {min(under_all(game)) for game in every}
    assert got.repeats_turned == len(every) - len(forms) > got.repeats > 0
    passed = [any(row.passed for row in slow.replay(list(game))[:-1]) for game in every]
    assert got.with_pass == sum(passed) > 2
    assert got.short == sum(len(game) < 60 for game in every)
    assert got.share(got.short) == got.short / 342


def test_a_pass_that_nobody_moves_after_is_none() -> None:
    assert census(listed(EARLY_PASS[:8])).with_pass == 0
    assert census(listed(EARLY_PASS[:9])).with_pass == 1


def test_a_planted_repeat_and_a_planted_turned_repeat() -> None:
    train, other = random_games(2000, seed=0), random_games(500, seed=1)
    assert not overlap(train, other).turned.any()
    moves = other.moves.clone()
    moves[17] = train.moves[1234]
    moves[400] = turned(train, 3).moves[55]
    moves[499] = turned(train, 1).moves[55].clamp(max=-1)
    got = overlap(train, Games(moves, "planted"))
    assert got.exact.nonzero().flatten().tolist() == [17]
    assert got.turned.nonzero().flatten().tolist() == [17, 400]
    assert (got.train.repeats, got.other.repeats_turned) == (0, 0)
    assert str(got).startswith(
        "1 of 500 games also stand among the 2000 (0.200%), 2 up to symmetry (0.400%)\ntrain: 0 rep"
    )


def test_overlap_equals_counting(some: Games) -> None:
    train, other = some[:200], some[200:]
    got, known = overlap(train, other), set(lists(train))
    assert got.exact.tolist() == [game in known for game in lists(other)]
    forms = {min(under_all(game)) for game in known}
    assert got.turned.tolist() == [min(under_all(game)) in forms for game in lists(other)]
    assert 0 < int(got.exact.sum()) < int(got.turned.sum()) < len(other)


def test_overlap_does_not_depend_on_the_width(some: Games) -> None:
    narrow = Games(some.moves[:300, :4], "narrow")
    assert overlap(some, narrow).exact.all()
    assert overlap(narrow, some).exact[:300].all()


def test_no_games_overlap_with_nothing(games: Games) -> None:
    got = overlap(games[:0], games)
    assert not got.turned.any()
    assert got.train.share(got.train.short) == 0
    assert overlap(games, games[:0]).exact.shape == (0,)


def test_illegal_games_are_refused(games: Games) -> None:
    with pytest.raises(IllegalMoveError, match="ply 1: a1 is illegal"):
        overlap(games, listed([44, 0]))


# Splits


def test_a_split_keeps_repeats_together_and_loses_nothing(some: Games) -> None:
    parts = split(some, (0.7, 0.2, 0.1), seed=3)
    assert sorted(g for part in parts for g in lists(part)) == sorted(lists(some))
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not overlap(parts[one], parts[other]).turned.any()
    order = {game: i for i, game in reversed(list(enumerate(lists(some))))}
    for part in parts:
        first = [order[game] for game in dict.fromkeys(lists(part))]
        assert first == sorted(first)


def test_parts_have_their_shares() -> None:
    games = random_games(3000, seed=2)
    for part, share in zip(split(games, (0.7, 0.2, 0.1), seed=0), (0.7, 0.2, 0.1), strict=True):
        assert abs(len(part) / len(games) - share) < 0.03


def test_the_draw_of_a_split_follows_its_seed(games: Games) -> None:
    again = split(games, (0.5, 0.5), seed=1)
    for one, other in zip(split(games, (0.5, 0.5), seed=1), again, strict=True):
        assert torch.equal(one.moves, other.moves)
    assert not torch.equal(split(games, (0.5, 0.5), seed=2)[0].moves, again[0].moves)


def test_parts_of_a_split_are_known_to_be_apart() -> None:
    games = random_games(50, seed=9)
    train, held = split(games, (0.8, 0.2), seed=0)
    assert not share_games(train.origin, held.origin)
    assert share_games(train.origin, train.origin)
    assert share_games(train.origin, games.origin)
    assert share_games(train.origin, split(games, (0.8, 0.2), seed=1)[1].origin)


@pytest.mark.parametrize("shares", [(0.5,), (0.5, 0.6), (1.5, -0.5), (1.0, 0.0), ()])
def test_shares_that_do_not_add_up_are_refused(shares: tuple[float, ...], games: Games) -> None:
    with pytest.raises(InputError, match="positive and add up to 1"):
        split(games, shares, seed=0)


# Skewed sets and openings


def test_skewed_leaves_out_what_opens_so(some: Games) -> None:
    got = skewed(some, ["c4", "f5D6"])
    c4, f5d6 = squares("c4"), squares("f5d6")
    right = [g for g in lists(some) if list(g[:1]) != c4 and list(g[:2]) != f5d6]
    assert lists(got) == right
    assert 0 < len(right) < len(some)
    assert got.origin == f"{some.origin} without c4, f5D6"
    assert torch.equal(skewed(some, "c4").moves, skewed(some, ["c4"]).moves)
    assert skewed(some, []).origin == some.origin


def test_a_skewed_set_still_shares_its_games() -> None:
    games = random_games(50, seed=9)
    assert share_games(skewed(games, "e6").origin, random_games(10, seed=9).origin)
    assert skewed(games, "e6")[2:4].origin == f"{games.origin} without e6[2:4]"


def test_a_beginning_longer_than_the_lists_leaves_all() -> None:
    short = Games(torch.tensor([[44, 29]], dtype=torch.int8), "two moves")
    assert len(skewed(short, "f5d6c3")) == 1
    assert len(openings(short, 3)) == 0


def test_a_beginning_that_no_game_has_is_refused(games: Games) -> None:
    with pytest.raises(InputError, match="no game can open with 'f4': .*legal were: c4 d3 e6 f5"):
        skewed(games, "f4")
    with pytest.raises(InputError, match="an opening is empty"):
        skewed(games, ["c4", " "])
    with pytest.raises(InputError, match="'f9' is not a square"):
        skewed(games, "f9")


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("plies", [1, 2, 5, 60])
def test_openings_equal_counting(plies: int, symmetric: bool, some: Games) -> None:
    every = lists(turned_to_f5(some)) if symmetric else lists(some)
    right = Counter(game[:plies] for game in every if len(game) >= plies)
    got = openings(some, plies, symmetric=symmetric)
    assert dict(zip(map(tuple, got.moves.tolist()), got.count.tolist(), strict=True)) == right
    in_order = sorted(right, key=lambda game: (-right[game], game))
    assert list(map(tuple, got.moves.tolist())) == in_order
    assert got.games == len(some)
    assert got.share().tolist() == [right[game] / len(some) for game in in_order]


def test_openings_by_name() -> None:
    got = openings(listed(squares("f5d6c3"), squares("c4e3"), squares("f5d6"), squares("d3")), 2)
    assert got.names() == ["f5d6", "c4e3"]
    assert (got.count.tolist(), len(got), got.share().tolist()) == ([2, 1], 2, [0.5, 0.25])
    both = openings(listed(squares("f5d6"), squares("c4e3")), 2, symmetric=True)
    assert both.names() == ["f5d6"]


@pytest.mark.parametrize("plies", [0, -1, 61])
def test_an_opening_of_no_such_length_is_refused(plies: int, games: Games) -> None:
    with pytest.raises(InputError, match=f"1 to 60 moves, not {plies}"):
        openings(games, plies)
