"""The pass test: who moves after a pass, against loops, and with probes that know one answer."""

from dataclasses import replace

import pytest
import torch
from reference import truth_by_lists as slow
from torch import Tensor

from othellolens.errors import InputError
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.othello.boards import Boards
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import NO_MOVE
from othellolens.probes.board import by_parity, classes
from othellolens.probes.fit import ProbePlan, fit_probe
from othellolens.probes.linear import LinearProbe
from othellolens.probes.passes import before_first_pass, disputed, plies_since, sides

SITE = Site("resid_post", layer=1)


@pytest.fixture(scope="module")
def played() -> Games:
    return random_games(120, seed=4)


def told(games: Games) -> list[tuple[bool, int | None]]:
    """For each position whether parity names the wrong mover, and how long ago a pass was."""
    rows: list[tuple[bool, int | None]] = []
    for game in games.moves.tolist():
        moves = [square for square in game if square != NO_MOVE]
        movers = slow.movers(moves)
        last: int | None = None
        for ply in range(len(moves)):
            over = ply == len(moves) - 1
            if not over and movers[ply + 1][1]:
                last = ply
            black_next = not over and movers[ply + 1][0]
            wrong = not over and black_next != (ply % 2 == 1)
            rows.append((wrong, None if last is None else ply - last))
    return rows


def test_disputed_positions_equal_loops(played: Games) -> None:
    boards = played.replay()
    found = disputed(boards).tolist()
    expected = told(played)
    ongoing = (boards.legal() != 0).tolist()
    assert sum(found) > 10
    since = plies_since(boards).tolist()
    for i, (wrong, ago) in enumerate(expected):
        if ongoing[i]:
            assert found[i] == wrong
            assert since[i] == ago if ago is not None else since[i] > 60
        else:
            assert not found[i]


def test_games_are_cut_just_before_parity_goes_wrong(played: Games) -> None:
    cut = before_first_pass(played)
    assert not bool(disputed(cut.replay()).any())
    lengths, whole = cut.lengths().tolist(), played.lengths().tolist()
    shorter = [game for game in range(len(played)) if lengths[game] < whole[game]]
    assert len(shorter) > 10
    rows = disputed(played.replay())
    starts = torch.cat([torch.zeros(1), played.lengths().cumsum(0)]).long().tolist()
    for game in shorter:
        assert bool(rows[starts[game] + lengths[game]])
    for game in set(range(len(played))) - set(shorter):
        assert not bool(rows[starts[game] : starts[game + 1]].any())


class Knows(LinearProbe):
    """Says what is true of the boards that it was given, row by row, whatever it reads."""

    def __init__(self, boards: Boards) -> None:
        super().__init__(32)
        readable = boards[boards.at[:, 1] < 59]
        self.truth = torch.nn.functional.one_hot(classes(readable), 3).mT.float()
        self.seen = 0

    def logits(self, x: Tensor) -> Tensor:
        rows = self.truth[self.seen : self.seen + len(x)]
        self.seen += len(x)
        return rows


def test_a_probe_that_knows_the_rules_sides_with_them(model: GPT, played: Games) -> None:
    boards = played.replay()
    right = sides(Knows(boards), model, SITE, played)
    assert right.share() == right.undisputed == 1.0
    assert right.interval() == (1.0, 1.0)
    wrong = sides(Knows(by_parity(boards)), model, SITE, played)
    assert wrong.share() == 0.0
    assert wrong.undisputed == 1.0
    assert wrong.positions == int(disputed(boards).sum())
    counted = right.filled.sum(0).tolist()
    assert counted[-1] == sum(counted[:-1])


def test_no_share_of_no_cells(model: GPT, played: Games) -> None:
    boards = played.replay()
    found = sides(Knows(boards), model, SITE, played)
    none = replace(found, filled=found.filled * 0, rules=found.rules * 0)
    assert none.share("1") is None
    with pytest.raises(InputError, match="no game has such a position"):
        none.interval("1")


def test_games_without_a_pass_are_refused(model: GPT, played: Games) -> None:
    probe = LinearProbe(32)
    with pytest.raises(InputError, match="no position of these games follows an odd number"):
        sides(probe, model, SITE, before_first_pass(played))


def test_labels_of_either_convention(model: GPT, played: Games) -> None:
    plan = ProbePlan(rows=2000, batch=500, window=2000)
    probes = {
        how: fit_probe(model, SITE, played, plan=plan, labels=how) for how in ("rules", "parity")
    }
    assert probes["parity"].metadata["labels"] == "parity"
    assert not torch.equal(probes["rules"].W, probes["parity"].W)
    cut = before_first_pass(played)
    same = [fit_probe(model, SITE, cut, plan=plan, labels=how) for how in ("rules", "parity")]
    torch.testing.assert_close(same[0].W, same[1].W)
