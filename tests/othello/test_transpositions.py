"""Transpositions against a dictionary of positions, and two that are known."""

import random
from collections import defaultdict
from itertools import combinations

import numpy as np
import pytest
import torch
from reference import othello_by_lists as slow
from reference.othello_by_lists import squares
from reference.positions import listed

from othellolens.errors import InputError
from othellolens.othello import transpositions as module
from othellolens.othello.games import Games, IllegalMoveError, random_games
from othellolens.othello.squares import name
from othellolens.othello.transpositions import Transpositions

Row = tuple[int, int]


def by_dictionary(
    games: list[list[int]],
) -> dict[tuple[object, ...], dict[tuple[int, ...], list[Row]]]:
    """For each position that has several histories, the rows of each of them."""
    found: dict[tuple[object, ...], dict[tuple[int, ...], list[Row]]] = {}
    for g, game in enumerate(games):
        for t, row in enumerate(slow.replay(game)):
            position = (frozenset(row.mine), frozenset(row.theirs), row.black)
            found.setdefault(position, defaultdict(list))[tuple(game[: t + 1])].append((g, t))
    return {position: rows for position, rows in found.items() if len(rows) > 1}


def pairs_of(
    groups: dict[tuple[object, ...], dict[tuple[int, ...], list[Row]]],
) -> set[frozenset[Row]]:
    return {
        frozenset((a, b))
        for histories in groups.values()
        for one, other in combinations(histories.values(), 2)
        for a in one
        for b in other
    }


def as_sets(pairs: torch.Tensor) -> list[frozenset[Row]]:
    return [frozenset(map(tuple, pair)) for pair in pairs.tolist()]


@pytest.fixture(scope="module")
def short_games() -> list[list[int]]:
    """Beginnings, many of them alike, of different lengths, and whole games."""
    chance, games = random.Random(6), random_games(1500, seed=6).moves.tolist()
    begun = [game[: chance.randrange(3, 8)] for game in games]
    return [*begun, *(slow.random_game(chance) for _ in range(4)), slow.WIPE_OUT, []]


@pytest.fixture(scope="module")
def index(short_games: list[list[int]]) -> Transpositions:
    return Transpositions.of(listed(*short_games))


def test_groups_equal_the_dictionary(short_games: list[list[int]], index: Transpositions) -> None:
    right = by_dictionary(short_games)
    groups = list(index.groups())
    assert len(groups) == len(index) == len(right) > 20
    assert {frozenset(map(tuple, group.at.tolist())) for group in groups} == {
        frozenset(row for rows in histories.values() for row in rows)
        for histories in right.values()
    }
    for group in groups:
        begun = [tuple(short_games[g][: t + 1]) for g, t in group.at.tolist()]
        for history, moves in zip(group.history.tolist(), begun, strict=True):
            assert tuple(short_games[history][: len(moves)]) == moves
        assert len(set(zip(group.history.tolist(), begun, strict=True))) == len(set(begun))


def test_pairs_equal_the_dictionary(short_games: list[list[int]], index: Transpositions) -> None:
    right = pairs_of(by_dictionary(short_games))
    every = as_sets(index.pairs(10**6))
    assert len(every) == len(set(every)) == index.pair_count == len(right)
    assert set(every) == right
    in_batches = torch.cat(list(index.all_pairs(batch=7)))
    assert torch.equal(in_batches, index.pairs(10**6))


def test_some_pairs_are_different_ones_of_all(index: Transpositions) -> None:
    every, total = as_sets(index.pairs(10**6)), index.pair_count
    some = as_sets(index.pairs(total // 3, seed=1))
    assert len(set(some)) == len(some) == total // 3
    assert set(some) < set(every)
    assert as_sets(index.pairs(total // 3, seed=1)) == some
    assert as_sets(index.pairs(total // 3, seed=2)) != some
    assert index.pairs(0).shape == (0, 2, 2)


def test_pairs_are_drawn_uniformly() -> None:
    some = Transpositions.of(random_games(300, seed=2))
    number = {pair: i for i, pair in enumerate(as_sets(some.pairs(10**6)))}
    drawn = torch.zeros(len(number))
    for seed in range(400):
        for pair in as_sets(some.pairs(len(number) // 4, seed=seed)):
            drawn[number[pair]] += 1
    mean = float(drawn.mean())
    assert 95 < mean <= 100
    chi_squared = float(((drawn - mean) ** 2 / (0.75 * mean)).mean())
    assert 0.5 < chi_squared < 1.6


def test_pairs_share_the_board_and_not_the_moves(index: Transpositions) -> None:
    games = random_games(3000, seed=3)
    boards, pairs = games.replay_table(), Transpositions.of(games).pairs(2000, seed=0).long()
    assert len(pairs) == 2000
    (g, t), (h, u) = (pairs[:, row].T for row in (0, 1))
    assert torch.equal(t, u)
    for column in boards:
        assert torch.equal(column[g, t], column[h, u])
    for (a, ply), (b, _) in pairs.tolist():
        assert games.moves[a, : ply + 1].tolist() != games.moves[b, : ply + 1].tolist()


def test_once_has_every_history_once(short_games: list[list[int]], index: Transpositions) -> None:
    right, once = by_dictionary(short_games), index.once()
    assert len(once) == len(right)
    assert len(once.at) == sum(len(histories) for histories in right.values())
    firsts = {rows[0] for histories in right.values() for rows in histories.values()}
    assert set(map(tuple, once.at.tolist())) == firsts
    assert once.pair_count < index.pair_count


def all_beginnings(plies: int) -> Games:
    """Every list of so many moves that the rules allow."""
    lists: list[list[int]] = [[]]
    for _ in range(plies):
        legal = [
            slow.replay(one)[-1].legal if one else slow.legal_moves(slow.start(), "X")
            for one in lists
        ]
        lists = [[*one, s] for one, moves in zip(lists, legal, strict=True) for s in sorted(moves)]
    return listed(*lists)


def test_the_shortest_transpositions() -> None:
    """Of the 56 beginnings of three moves two pairs meet; d3c3c4 and c4c3d3 are one of them."""
    games = all_beginnings(3)
    assert len(games) == 56
    index = Transpositions.of(games)
    names = {
        frozenset("".join(name(s) for s in games.moves[g, :3].tolist()) for g, _ in pair)
        for pair in index.pairs(99).tolist()
    }
    assert names == {frozenset({"c4c3d3", "d3c3c4"}), frozenset({"e6f6f5", "f5f6e6"})}


def test_the_number_of_positions_after_a_few_moves() -> None:
    """All histories, and all positions that they reach, after 1 to 5 moves."""
    games = all_beginnings(5)
    index, last = Transpositions.of(games), [slow.replay(g[:5])[-1] for g in games.moves.tolist()]
    assert len({(frozenset(x.mine), frozenset(x.theirs), x.black) for x in last}) == 1288
    counts = []
    for ply in range(5):
        histories = len(games.moves[:, : ply + 1].unique(dim=0))
        rows = index.once()
        here = rows.at[:, 1] == ply
        counts.append((histories, histories - int(here.sum()) + len(rows.group[here].unique())))
    assert counts == [(4, 4), (12, 12), (56, 54), (244, 236), (1396, 1288)]


def test_a_transposition_by_hand() -> None:
    one, other = squares("e6f6f5f4e3"), squares("f5f4e3f6e6")
    assert slow.replay(one)[-1] == slow.replay(other)[-1]
    index = Transpositions.of(listed(one, squares("d3"), other, one))
    assert index.at.tolist() == [[0, 4], [3, 4], [2, 4]]
    assert index.pairs(9).tolist() == [[[0, 4], [2, 4]], [[3, 4], [2, 4]]]
    assert index.once().pairs(9).tolist() == [[[0, 4], [2, 4]]]


def test_games_that_begin_alike_are_no_transposition() -> None:
    game = random_games(1, seed=0).moves[0].tolist()
    index = Transpositions.of(listed(game, game, game[:20]))
    assert (len(index), index.pair_count, list(index.groups())) == (0, 0, [])
    assert len(index.pairs(5)) == len(index.once().at) == len(list(index.all_pairs())) == 0


def test_some_plies_alone(index: Transpositions, short_games: list[list[int]]) -> None:
    some = Transpositions.of(listed(*short_games), plies=range(4, 6))
    chosen = (index.at[:, 1] == 4) | (index.at[:, 1] == 5)
    assert torch.equal(some.at, index.at[chosen])
    assert torch.equal(some.history, index.history[chosen])
    assert some.group.unique().tolist() == list(range(len(some)))
    assert len(Transpositions.of(listed(*short_games), plies=range(0))) == 0


def test_chunks_do_not_matter(
    short_games: list[list[int]], index: Transpositions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK", 7)
    again = Transpositions.of(listed(*short_games))
    assert torch.equal(again.at, index.at)
    assert torch.equal(again.group, index.group)


@pytest.mark.parametrize(("black", "groups"), [((1, 1), 1), ((0, 0), 1), ((1, 0), 0)])
def test_whose_move_it_is_counts(black: tuple[int, int], groups: int) -> None:
    """The same discs with the other colour to move are another position."""
    discs = np.array([5, 5], dtype=np.uint64)
    planes = module._Planes(discs, discs + np.uint64(5), np.array(black, dtype=np.bool_))
    games, none = listed(squares("c4"), squares("d3")), np.zeros(2, dtype=np.int64)
    assert len(module._of_ply(0, games, planes, np.arange(2), none)) == groups


def test_no_games_and_bad_input(games: Games) -> None:
    assert len(Transpositions.of(games[:0])) == 0
    with pytest.raises(InputError, match="limit must not be negative: got -1"):
        Transpositions.of(games).pairs(-1)
    with pytest.raises(IllegalMoveError):
        Transpositions.of(listed([44, 0]))
