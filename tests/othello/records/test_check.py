"""Every illegal game of a batch is found, where and why: the slow reference says the same."""

import random

import numpy as np
import pytest
import torch
from reference import othello_by_lists as slow

from othellolens.othello.games import Games
from othellolens.othello.records.check import OPENINGS, check, ends, join
from othellolens.othello.records.record import Raw, rows_of
from othellolens.othello.squares import name


def first_fault(game: list[int]) -> tuple[int, str] | None:
    """Ply of the first illegal move, and what was legal there, by the slow reference."""
    board, sign = slow.start(), "X"
    for ply, square in enumerate(game):
        if not slow.legal_moves(board, sign) and slow.legal_moves(board, slow.other(sign)):
            sign = slow.other(sign)
        legal = slow.legal_moves(board, sign)
        if square not in legal:
            return ply, " ".join(name(s) for s in sorted(legal)) or "none, the game is over"
        board, sign = slow.play(board, square, sign), slow.other(sign)
    return None


def damaged(replayed: slow.Replayed, chance: random.Random) -> list[list[int]]:
    """Half of the games with one square changed, which some survive."""
    games = [list(game) for game, _ in replayed]
    for game in games[::2]:
        game[chance.randrange(len(game))] = chance.randrange(64)
    return games


def test_faults_are_those_of_the_slow_reference(replayed: slow.Replayed) -> None:
    games = damaged(replayed, random.Random(5))
    found = list(check(Raw(rows_of([bytes(game) for game in games]))))
    faults = {game: fault for part in found for game, fault in part.faults.items()}
    expected = {i: fault for i, game in enumerate(games) if (fault := first_fault(game))}
    assert faults.keys() == expected.keys()
    assert 50 < len(faults) < len(games) - 50
    for game, (ply, legal) in expected.items():
        assert faults[game].ply == ply
        assert faults[game].reason.endswith(f"is illegal here; legal were: {legal}")
    good = [number for part in found for number in part.good.tolist()]
    assert good == [i for i in range(len(games)) if i not in expected]


def test_ends_are_those_of_the_slow_reference(replayed: slow.Replayed) -> None:
    raw = Raw(rows_of([bytes(game) for game, _ in replayed]))
    found = join([part.ends for part in check(raw)])
    for row, (_, states) in enumerate(replayed):
        last = states[-1]
        black, white = (last.mine, last.theirs) if last.black else (last.theirs, last.mine)
        assert found.discs[row].tolist() == [len(black), len(white)]
        assert bool(found.over[row]) == (not last.legal)
        # A pass after the last recorded move is not counted: nobody played on.
        assert int(found.passes[row]) == sum(state.passed for state in states[:-1])
    again = ends(Games(torch.from_numpy(raw.moves.copy()), ""))
    assert all(torch.equal(a, b) for a, b in zip(found, again, strict=True))


def test_empty_squares_go_to_the_winner() -> None:
    from othellolens.othello.records.record import Ends

    discs = torch.tensor([[13, 0], [20, 30], [30, 30], [32, 32], [33, 31]])
    found = Ends(torch.zeros(5, dtype=torch.int64), discs, torch.ones(5, dtype=torch.bool))
    assert found.scores().tolist() == [64, 20, 32, 32, 33]


def test_first_moves(replayed: slow.Replayed) -> None:
    assert sorted(slow.legal_moves(slow.start(), "X")) == list(OPENINGS)


@pytest.mark.parametrize(
    ("passes", "fault"),
    [
        ([(0, 8)], None),
        ([], None),
        ([(0, 7)], (7, "a pass is written here; legal were: ")),
        ([(0, 8), (0, 8)], (8, "a pass is written here; legal were: ")),
        ([(0, 0)], (0, "a pass is written here; legal were: c4 d3 e6 f5")),
        ([(0, 10)], (10, "a pass is written here; legal were: ")),
        ([(1, 9)], None),
        ([(1, 9), (1, 9)], None),
        ([(2, 8)], None),
        ([(2, 8), (2, 8)], (8, "a pass is written here; legal were: ")),
    ],
)
def test_a_written_pass_must_be_forced(
    passes: list[tuple[int, int]], fault: tuple[int, str] | None
) -> None:
    games = [slow.EARLY_PASS, slow.WIPE_OUT, slow.EARLY_PASS[:8]]
    (found,) = check(Raw(rows_of([bytes(game) for game in games]), passes=passes))
    assert len(found.faults) == (fault is not None)
    if fault:
        ((ply, reason),) = found.faults.values()
        assert (ply, reason.startswith(fault[1])) == (fault[0], True)
    assert len(found.good) == len(found.ends.passes) == 3 - len(found.faults)


def test_games_without_moves_are_games() -> None:
    (found,) = check(Raw(np.full((2, 60), -1, dtype=np.int8)))
    assert found.ends.discs.tolist() == [[2, 2], [2, 2]]
    assert not found.ends.over.any()
