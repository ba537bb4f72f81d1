"""Cases and the intervention benchmark: edits by sets, ties by enumeration, hooks by hand."""

import pickle
from itertools import combinations
from pathlib import Path

import pytest
import torch
from reference import truth_by_lists as slow

from othellolens.encoder import Neurons
from othellolens.errors import InputError
from othellolens.evaluation.cases import (
    Cases,
    flipped_cases,
    natural_cases,
    unnatural_cases,
)
from othellolens.evaluation.counterfactuals import Counterfactual
from othellolens.evaluation.edits import by_features
from othellolens.evaluation.interventions import intervene, oracle_null, outcome
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import SQUARE_OF_TOKEN, tokens
from othellolens.lens import Lens
from othellolens.othello.boards import unpack
from othellolens.othello.games import Games
from othellolens.othello.squares import CENTRE

CASES = natural_cases(40, seed=5)
FLIPS = Counterfactual.of(CASES, "flip")


def set_of(board: torch.Tensor) -> set[int]:
    """The squares of a bitboard."""
    return {square for square in range(64) if (int(board) >> square) & 1}


def test_natural_cases_are_as_described() -> None:
    lengths = CASES.histories.lengths()
    assert 5 <= int(lengths.min()) <= int(lengths.max()) <= 30
    assert not set(CASES.squares.tolist()) & set(CENTRE)
    before, after = CASES.boards().legal(), CASES.edited("flip").legal()
    assert bool((after != 0).all())
    assert bool((before & ~after != 0).all())
    again = natural_cases(40, seed=5)
    assert torch.equal(again.histories.moves, CASES.histories.moves)
    assert torch.equal(again.squares, CASES.squares)
    assert not torch.equal(natural_cases(40, seed=6).squares, CASES.squares)


def test_edits_equal_sets() -> None:
    boards, flipped, erased = CASES.boards(), CASES.edited("flip"), CASES.edited("erase")
    for case, square in enumerate(CASES.squares.tolist()):
        mine, theirs = set_of(boards.mine[case]), set_of(boards.theirs[case])
        assert square in mine | theirs
        assert bool(CASES.mine()[case]) == (square in mine)
        assert set_of(flipped.mine[case]) == mine ^ {square}
        assert set_of(flipped.theirs[case]) == theirs ^ {square}
        assert set_of(erased.mine[case]) == mine - {square}
        assert set_of(erased.theirs[case]) == theirs - {square}
        assert set_of(flipped.legal()[case]) == slow.legal(mine ^ {square}, theirs ^ {square})


def test_cases_survive_being_saved(tmp_path: Path) -> None:
    CASES.save(tmp_path / "cases.json")
    back = Cases.load(tmp_path / "cases.json")
    assert torch.equal(back.histories.moves, CASES.histories.moves)
    assert torch.equal(back.squares, CASES.squares)
    assert back.histories.origin == CASES.histories.origin
    (tmp_path / "bad.json").write_text('{"cases": [{"history": "f5"}]}')
    with pytest.raises(InputError, match="holds no cases: each needs a history and a square"):
        Cases.load(tmp_path / "bad.json")


def test_edits_that_mean_nothing_are_refused() -> None:
    bare = Cases(CASES.histories[:1], torch.tensor([0]))
    if not (int(bare.boards().mine | bare.boards().theirs) & 1):
        with pytest.raises(InputError, match="case 0: a1 holds no disc to edit"):
            bare.edited("flip")
    with pytest.raises(InputError, match="d4 cannot be empty"):
        Cases(CASES.histories[:1], torch.tensor([27])).edited("erase")
    with pytest.raises(InputError, match="40 histories and 3 squares"):
        Cases(CASES.histories, CASES.squares[:3])


def test_ties_are_broken_in_all_ways() -> None:
    """Few levels of logits: the expectation over all choices of N, by enumeration."""
    generator = torch.Generator().manual_seed(0)
    some = FLIPS[:6]
    logits = torch.randint(0, 3, (6, 61), generator=generator).float()
    logits[:, 8:] -= 9  # so that few are near the bar
    found = outcome(logits, some.before, some.after)
    wanted = unpack(some.after.legal())[:, SQUARE_OF_TOKEN]
    for case in range(6):
        right = {t for t in range(1, 61) if wanted[case, t]}
        number = len(right)
        values = {t: float(logits[case, t]) for t in range(1, 61)}
        bar = sorted(values.values(), reverse=True)[number - 1]
        sure = {t for t, v in values.items() if v > bar}
        tied = [t for t, v in values.items() if v == bar]
        left = number - len(sure)
        if len(tied) > 12:
            hits = len(sure & right) + left * len(right & set(tied)) / len(tied)
        else:
            ways = list(combinations(tied, left))
            hits = sum(len(right & (sure | set(way))) for way in ways) / len(ways)
        assert float(found.error[case]) == pytest.approx(2 * (number - hits), abs=1e-5)
        assert float(found.f1[case]) == pytest.approx(hits / number, abs=1e-5)
        if len(tied) <= 12:
            before = unpack(some.before.legal())[case, SQUARE_OF_TOKEN]
            old = {t for t in range(1, 61) if before[t]}
            shares = [
                sum((t in (sure | set(way))) == (t in right) for t in old ^ right)
                / len(old ^ right)
                for way in ways
            ]
            assert float(found.followed[case]) == pytest.approx(sum(shares) / len(shares), abs=1e-5)


def test_the_rules_of_the_edited_board_score_nothing() -> None:
    for edit in ("flip", "erase"):
        asked = Counterfactual.of(CASES, edit)
        wanted = unpack(asked.after.legal())[:, SQUARE_OF_TOKEN].float()
        wanted[:, 0] = 0
        found = outcome(torch.where(wanted > 0, 0.0, -40.0), asked.before, asked.after)
        assert found.interval() == (0.0, 0.0, 0.0)
        assert found.mean("followed") == 1.0
        assert oracle_null(asked).mean("followed") < 0.1
        assert found.mean("f1") == 1.0
        assert found.mean("kl") == pytest.approx(0, abs=1e-5)


def test_the_null_of_the_natural_set_is_the_published_one() -> None:
    """2.785 on the published 1,001 cases, whose other figures are matched, too."""
    cases = natural_cases(1001)
    null = oracle_null(Counterfactual.of(cases, "flip")).interval()
    assert null.low < 2.785 < null.high
    before, after = unpack(cases.boards().legal()), unpack(cases.edited("flip").legal())
    assert float(before.sum(1).float().mean()) == pytest.approx(10.62, abs=0.4)
    assert float(after.sum(1).float().mean()) == pytest.approx(9.97, abs=0.4)
    assert float((before ^ after).sum(1).float().mean()) == pytest.approx(2.118, abs=0.15)


def test_no_game_leads_to_an_unnatural_board() -> None:
    """Once the disc is erased the others are not one group: by flood, disc by disc."""
    cases = unnatural_cases(30, seed=2)
    erased = cases.edited("erase")
    for case in range(30):
        discs = set_of(erased.mine[case]) | set_of(erased.theirs[case])
        group, edge = set(), [min(discs)]
        while edge:
            square = edge.pop()
            group.add(square)
            left = discs - group
            near = (s for s in left if abs(s // 8 - square // 8) <= 1)
            edge += [s for s in near if abs(s % 8 - square % 8) <= 1]
        assert group < discs
    whole = cases.boards()
    assert bool((erased.legal() != 0).all())
    assert bool((erased.legal() != whole.legal()).all())
    with pytest.raises(InputError, match="ask for at least one, of 1 to 60"):
        natural_cases(3, plies=(9, 4))


def test_flipped_cases_were_turned_over_by_the_last_move() -> None:
    cases = flipped_cases(20, seed=1)
    for case, (moves, square) in enumerate(
        zip(cases.histories.moves.tolist(), cases.squares.tolist(), strict=True)
    ):
        played = [move for move in moves if move >= 0]
        one = Cases(cases.histories[case : case + 1], cases.squares[case : case + 1])
        shorter = torch.full((1, 60), -1, dtype=torch.int8)
        shorter[0, : len(played) - 1] = torch.tensor(played[:-1], dtype=torch.int8)
        earlier = Cases(Games(shorter, "cut"), torch.tensor([square]))
        now, then = one.boards(), earlier.boards()
        assert square != played[-1]
        assert (bool(one.mine()) == bool(now.black)) != (bool(earlier.mine()) == bool(then.black))


def published(cases: Cases) -> list[dict[str, object]]:
    """The cases as the original repository keeps them."""
    black = cases.boards().black == cases.mine()
    return [
        {"history": [s for s in moves if s >= 0], "pos_int": square, "ori_color": 2.0 * own}
        for moves, square, own in zip(
            cases.histories.moves.tolist(), cases.squares.tolist(), black.tolist(), strict=True
        )
    ]


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_the_published_pickle_is_read_and_nothing_in_it_run(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "intervention_benchmark.pkl"
    path.write_bytes(pickle.dumps(published(CASES), protocol=protocol))
    back = Cases.load(path)
    assert torch.equal(back.histories.moves, CASES.histories.moves)
    assert torch.equal(back.squares, CASES.squares)
    path.write_bytes(pickle.dumps([Path("x")], protocol=protocol))
    with pytest.raises(InputError, match="nothing was run"):
        Cases.load(path)
    whole = pickle.dumps(published(CASES), protocol=protocol)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="is a pickle that is not read: it is"):
        Cases.load(path)


def test_published_cases_that_cannot_be_are_named(tmp_path: Path) -> None:
    path = tmp_path / "cases.pkl"
    cases = published(CASES[:3])
    for key, value, said in (
        ("ori_color", 2.0 - float(str(cases[1]["ori_color"])), "case 1: .. is not of the colour"),
        ("ori_color", 1.0, "case 1 needs squares of 0..63 and an ori_color of 0 or 2"),
        ("pos_int", 64, "case 1 needs a history of squares and a pos_int"),
        ("history", [], "case 1 needs a history of squares and a pos_int"),
        ("history", "f5", "case 1 needs a history of squares and a pos_int"),
    ):
        path.write_bytes(pickle.dumps([cases[0], {**cases[1], key: value}, cases[2]]))
        with pytest.raises(InputError, match=said):
            Cases.load(path)
    path.write_bytes(pickle.dumps([[44]]))
    with pytest.raises(InputError, match="case 0 is no dictionary"):
        Cases.load(path)


def test_the_null_is_the_model_left_alone(model: GPT) -> None:
    found = intervene(model, FLIPS, batch=7)
    for case in range(0, len(CASES), 9):
        ids = tokens(CASES.histories[case : case + 1])
        length = int(CASES.histories.lengths()[case])
        with torch.no_grad():
            logits = model(ids[:, :length])[:, -1]
        one = FLIPS[case : case + 1]
        alone = outcome(logits, one.before, one.after)
        torch.testing.assert_close(alone.error, found.error[case : case + 1])
        torch.testing.assert_close(alone.kl, found.kl[case : case + 1], atol=1e-4, rtol=1e-4)


def test_features_are_switched_from_one_state_to_the_other(model: GPT) -> None:
    """With neurons as features, the edit by features is the edit by axes."""
    site = Site("resid_post", layer=0)
    lens = Lens(model, site, Neurons())
    square = {(state, s): (s % 16 + 16 * k,) for s in range(64) for k, state in
              enumerate(("mine", "theirs"))}  # fmt: skip
    typical = torch.full((2 * model.cfg.d_model,), 2.5)
    found = intervene(model, FLIPS, by_features(lens, square, typical))
    one = CASES[4:5]
    length, own = int(one.histories.lengths()[0]), bool(one.mine()[0])
    old, new = ("mine", "theirs") if own else ("theirs", "mine")
    s = int(one.squares[0])

    def put(x: torch.Tensor, hook: object) -> torch.Tensor:  # noqa: ARG001
        x = x.clone()
        row = x[0, length - 1]
        off, on = square[old, s][0], square[new, s][0]
        row[off] = -(-row[off]).relu()
        row[on] = max(float(row[on].relu()), 2.5) - (-row[on]).relu()
        return x

    with torch.no_grad():
        ids = tokens(one.histories)[:, :length]
        logits = model.run_with_hooks(ids, [(site.hook_name, put)])[:, -1]
    asked = FLIPS[4:5]
    alone = outcome(logits, asked.before, asked.after)
    torch.testing.assert_close(alone.kl, found.kl[4:5], atol=1e-4, rtol=1e-4)


def test_erasing_the_last_way_to_move_is_counted_out() -> None:
    cases = natural_cases(400, seed=9)
    found = oracle_null(Counterfactual.of(cases, "erase"))
    stuck = cases.edited("erase").legal() == 0
    assert torch.equal(found.counted, ~stuck)
    assert found.left_out == int(stuck.sum())
