"""Edits by readings, gradients and features; their controls; and what persists of them."""

from typing import Any

import pytest
import torch
from reference import truth_by_lists as slow

from othellolens.errors import InputError
from othellolens.evaluation.cases import Cases, natural_cases
from othellolens.evaluation.counterfactuals import Counterfactual, elsewhere
from othellolens.evaluation.edits import Reading, by_gradient, linear, unset
from othellolens.evaluation.interventions import histories_of, intervene, next_logits
from othellolens.evaluation.persistence import persistence, roll_out
from othellolens.evaluation.sham import another_layer, another_square, random_direction
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.othello.boards import Boards
from othellolens.othello.games import Games, random_games

CASES = natural_cases(24, seed=5)
FLIPS = Counterfactual.of(CASES, "flip")
SITE = Site("resid_post", 0)


def reading(model: GPT, site: Site = SITE, states: int = 3) -> Reading:
    drawn = torch.Generator().manual_seed(site.layer)
    width = model.width(site)
    return Reading(
        site,
        torch.randn(states, 64, width, generator=drawn),
        torch.randn(states, 64, generator=drawn),
    )


def states(boards: Boards) -> torch.Tensor:
    return boards.squares().to(torch.uint8).argmax(1)


def vectors(model: GPT, wanted: Counterfactual, hooks: list[Any], site: Site) -> torch.Tensor:
    """What passes a site behind its hooks, at every ply."""
    seen: list[torch.Tensor] = []
    watch = (site.hook_name, lambda x, hook: seen.append(site.vectors(x).clone()))
    with torch.no_grad():
        model.run_with_hooks(histories_of(model, wanted), [*hooks, watch])
    return seen[-1]


def values(one: Reading, wanted: Counterfactual, x: torch.Tensor) -> torch.Tensor:
    """Logit of the wanted state less that of the present one, of the square of each case."""
    old, new = states(wanted.before), states(wanted.after)
    out = []
    for case, last in enumerate(wanted.last().tolist()):
        (square,) = (old[case] != new[case]).nonzero()[:, 0].tolist()
        logits = one.weight[:, square] @ x[case, last] + one.bias[:, square]
        out.append(logits[new[case, square]] - logits[old[case, square]])
    return torch.stack(out)


@pytest.mark.parametrize("edit", ["flip", "erase"])
def test_each_edit_goes_as_far_as_it_says(model: GPT, edit: Any) -> None:
    wanted, one = Counterfactual.of(CASES, edit), reading(model)
    x = vectors(model, wanted, [], SITE)
    v = values(one, wanted, x)
    for how, scale, goal in (
        ("add", 3.0, v + 3),
        ("reflect", 2.0, torch.where(v < 0, -2 * v, v)),
        ("set", 5.0, v.clamp(min=5)),
    ):
        hooks = linear([one], how=how, scale=scale)(wanted)
        edited = vectors(model, wanted, hooks, SITE)
        torch.testing.assert_close(values(one, wanted, edited), goal, atol=1e-3, rtol=1e-4)
        changed = (edited != x).any(2)
        assert not changed[torch.arange(x.shape[1]) != wanted.last()[:, None]].any()


def test_several_squares_are_set_at_once_by_the_least_change(model: GPT) -> None:
    """All differences of logits reach the scale, and no shorter change does it (it lies in their
    span)."""
    one, games = reading(model), CASES.histories[:1]
    present = states(CASES.boards())[0]
    squares = [s for s in range(64) if present[s] != 2][:3]
    asked = {s: 1 - int(present[s]) for s in squares}
    wanted = Counterfactual.with_squares(games, asked)
    assert [int(s) for s in wanted.changes().square] == squares
    x = vectors(model, wanted, [], SITE)[0, int(wanted.last())]
    edited = vectors(model, wanted, linear([one], scale=4.0)(wanted), SITE)[0, int(wanted.last())]
    directions = torch.stack(
        [one.weight[asked[s], s] - one.weight[1 - asked[s], s] for s in squares]
    )
    offsets = torch.stack([one.bias[asked[s], s] - one.bias[1 - asked[s], s] for s in squares])
    reached = directions @ edited + offsets
    before = directions @ x + offsets
    torch.testing.assert_close(reached, before.clamp(min=4.0), atol=1e-3, rtol=1e-4)
    change = edited - x
    inside = directions.T @ torch.linalg.lstsq(directions.T, change[:, None]).solution[:, :1]
    rest = (
        change - (directions.T @ torch.linalg.lstsq(directions.T, change[:, None]).solution)[:, 0]
    )
    assert inside.shape[1] == 1
    assert float(rest.norm()) < 1e-3 * float(change.norm())


def test_all_positions_are_those_at_which_the_square_is_taken_and_otherwise(model: GPT) -> None:
    changes = FLIPS.changes("all")
    boards = CASES.histories.replay()
    rows = {(g, p): row for row, (g, p) in enumerate(boards.at.tolist())}
    seen = states(boards)
    expected = set()
    for case in range(len(CASES)):
        last, square = int(FLIPS.last()[case]), int(CASES.squares[case])
        colour_now_black = bool(CASES.mine()[case]) == bool(FLIPS.before.black[case])
        for ply in range(last + 1):
            row = rows[case, ply]
            state = int(seen[row, square])
            if state == 2:
                continue
            is_black = (state == 0) == bool(boards.black[row])
            if is_black == colour_now_black:  # the colour that it is to have no longer
                expected.add((case, ply, square, state, 1 - state))
    assert {tuple(row) for row in torch.stack(changes, 1).tolist()} == expected
    assert {(c, p) for c, p, *_ in expected} >= set(enumerate(FLIPS.last().tolist()))
    one = reading(model)
    x = vectors(model, FLIPS, [], SITE)
    edited = vectors(model, FLIPS, linear([one], how="add", positions="all")(FLIPS), SITE)
    moved = {(c, p) for c, p in ((edited - x).abs().sum(2) > 1e-4).nonzero().tolist()}
    assert moved == {(c, p) for c, p, *_ in expected}


def test_editing_nothing_changes_nothing(model: GPT) -> None:
    """The present board as the wanted one, with every method: the same logits, bit by bit."""
    same = Counterfactual(FLIPS.histories, FLIPS.before, FLIPS.before)
    clean = next_logits(model, same)
    one = reading(model)
    for how in ("add", "reflect", "set"):
        assert torch.equal(next_logits(model, same, linear([one], how=how)), clean)
    torch.testing.assert_close(
        next_logits(model, same, by_gradient({SITE: lambda x: x[:, :1, None].expand(-1, 3, 64)})),
        clean,
    )


def test_a_gradient_reaches_what_a_line_says(model: GPT) -> None:
    one = reading(model)

    def read(x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("nd,ksd->nks", x, one.weight) + one.bias

    before = values(one, FLIPS, vectors(model, FLIPS, [], SITE))
    hooks = by_gradient({SITE: read}, steps=150, lr=0.05)(FLIPS)
    after = values(one, FLIPS, vectors(model, FLIPS, hooks, SITE))
    assert bool((after > before - 1e-3).all())
    assert float((after > 0).float().mean()) == 1.0


def test_a_fact_is_made_untrue(model: GPT) -> None:
    one = reading(model, states=1)
    edited = vectors(model, FLIPS, unset([one], how="set", scale=2.0)(FLIPS), SITE)
    for case, last in enumerate(FLIPS.last().tolist()):
        square = int(CASES.squares[case])
        logit = one.weight[0, square] @ edited[case, last] + one.bias[0, square]
        assert float(logit) < -2 + 1e-2


def test_controls_are_what_they_say(model: GPT) -> None:
    one = reading(model)
    method = linear([one], how="set", scale=6.0)
    x = vectors(model, FLIPS, [], SITE)
    plain = vectors(model, FLIPS, method(FLIPS), SITE) - x
    random = vectors(model, FLIPS, random_direction(method)(FLIPS), SITE) - x
    torch.testing.assert_close(random.norm(dim=2), plain.norm(dim=2), atol=1e-4, rtol=1e-3)
    rows = torch.arange(len(FLIPS))
    cosine = torch.cosine_similarity(random[rows, FLIPS.last()], plain[rows, FLIPS.last()])
    assert float(cosine.abs().mean()) < 0.5
    other = elsewhere(FLIPS)
    assert not bool((other.changes().square == CASES.squares).any())
    assert torch.equal(other.changes().new, 1 - other.changes().old)
    torch.testing.assert_close(
        intervene(model, FLIPS, another_square(method)).kl,
        intervene(model, FLIPS, lambda _: method(other)).kl,
    )
    erased = elsewhere(Counterfactual.of(CASES, "erase"))
    assert bool((erased.changes().new == 2).all())
    assert not set(erased.changes().square.tolist()) & {27, 28, 35, 36}
    moved = another_layer(method, model)(FLIPS)
    (name, _) = moved[0]
    assert name == "blocks.1.hook_resid_post"  # half of two layers further on
    there = Site("resid_post", 1)
    gone = vectors(model, FLIPS, moved, there) - vectors(model, FLIPS, [], there)
    torch.testing.assert_close(gone, plain, atol=1e-4, rtol=1e-3)


def test_what_cannot_be_wanted_is_refused(model: GPT) -> None:
    games = CASES.histories[:2]
    present = states(CASES.boards())
    square = next(s for s in range(64) if present[0, s] == 0)
    with pytest.raises(InputError, match="is mine already in history 0"):
        Counterfactual.with_squares(games, {square: 0})
    with pytest.raises(InputError, match="d4 cannot be empty"):
        Counterfactual.with_squares(games, {27: 2})
    with pytest.raises(InputError, match="squares are 0..63, states 0..2"):
        Counterfactual.with_squares(games, {64: 0})
    with pytest.raises(InputError, match="for the other side to move"):
        b = FLIPS.before
        Counterfactual(FLIPS.histories, b, Boards(b.mine, b.theirs, b.at, ~b.black))
    with pytest.raises(InputError, match="one each"):
        Counterfactual(FLIPS.histories, FLIPS.before, FLIPS.after[:3])
    with pytest.raises(InputError, match="give one for each site"):
        linear([])
    with pytest.raises(InputError, match="has 1 states of a square, not 3"):
        linear([reading(model, states=1)])
    narrow = Reading(SITE, torch.randn(3, 64, 5), torch.randn(3, 64))
    with pytest.raises(InputError, match="is of vectors of 5, but there are"):
        intervene(model, FLIPS, linear([narrow]))


def test_a_roll_out_equals_loops() -> None:
    """Boards, passes and ends of games that go on from edited boards, against sets of squares."""
    line = roll_out(FLIPS.histories, FLIPS.after, moves=6, longest=59, seed=3)
    lengths = FLIPS.histories.lengths()

    def squares(bits: torch.Tensor) -> set[int]:
        return {s for s in range(64) if (int(bits) >> s) & 1}

    for case in range(len(FLIPS)):
        mine, theirs = squares(FLIPS.after.mine[case]), squares(FLIPS.after.theirs[case])
        for move in range(6):
            legal = slow.legal(mine, theirs)
            assert bool(line.alive[case, move]) == bool(legal)
            if not legal:
                break
            square = int(line.games.moves[case, lengths[case] + move])
            assert square in legal
            flips = set().union(*slow.flips_by_direction(square, mine, theirs).values())
            mine, theirs = mine | {square} | flips, theirs - flips
            if slow.legal(theirs, mine) or not slow.legal(mine, theirs):
                mine, theirs = theirs, mine
            assert squares(line.boards[move + 1].mine[case]) == mine
            assert squares(line.boards[move + 1].theirs[case]) == theirs


def test_without_an_edit_and_a_wish_persistence_is_the_model_itself(model: GPT) -> None:
    games = random_games(10, seed=4)
    histories = Games(games.moves.clone().index_fill_(1, torch.arange(12, 60), -1), "cut")
    boards = Cases(histories, torch.zeros(10).long()).boards()
    same = Counterfactual(histories, boards, boards)
    found = persistence(model, same, moves=4, seed=1, batch=4)
    assert found.error.shape == (10, 5)
    line = roll_out(same[:4].histories, same[:4].after, moves=4, longest=59, seed=1)
    from othellolens.gpt.tokens import SQUARE_OF_TOKEN, tokens
    from othellolens.othello.boards import unpack

    with torch.no_grad():
        logits = model(tokens(line.games)[:, :16])
    for case in range(4):
        for move in range(5):
            legal = unpack(line.boards[move].legal())[case, SQUARE_OF_TOKEN]
            best = int(logits[case, 11 + move, 1:].argmax()) + 1
            assert bool(found.illegal[case, move]) == (not bool(legal[best]))
    assert 0 <= found.interval("error", 2)[0] <= 40
    assert found.mean("illegal", 0) <= 1
