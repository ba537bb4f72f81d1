"""Legality: an oracle makes no mistake, every kind of mistake is counted, and loops agree."""

import math

import pytest
import torch
from reference import othello_by_lists as slow
from reference.othello_by_lists import Replayed
from torch import Tensor

from othellolens.gpt.legality import Legality, judge_logits, legality
from othellolens.gpt.model import GPT
from othellolens.gpt.tokens import PAD, SQUARE_OF_TOKEN, tokens
from othellolens.othello.games import Games

TOKEN = {square: token for token, square in enumerate(SQUARE_OF_TOKEN.tolist()) if token}


def listed(replayed: Replayed) -> Games:
    moves = torch.full((len(replayed), 60), -1, dtype=torch.int8)
    for row, (game, _) in enumerate(replayed):
        moves[row, : len(game)] = torch.tensor(game, dtype=torch.int8)
    return Games(moves, "by hand")


@pytest.fixture(scope="module")
def some(replayed: Replayed) -> Replayed:
    """With the wipe-out and the pass."""
    return replayed[:24]


@pytest.fixture(scope="module")
def judged(some: Replayed) -> Games:
    return listed(some)


def opponents(row: slow.After) -> set[int]:
    """Legal if the other side were to move."""
    return slow.legal_moves(slow.board_of(row.theirs, row.mine), "X")


def oracle(some: Replayed, never: float = -1e4) -> Tensor:
    """Log of the uniform distribution over the legal moves; padding where the game is over."""
    logits = torch.full((len(some), 59, 61), never)
    logits[..., PAD] = 0.0
    for game, (_, after) in enumerate(some):
        for ply, row in enumerate(after[:59]):
            logits[game, ply, PAD] = never if row.legal else 0.0
            for square in row.legal:
                logits[game, ply, TOKEN[square]] = -math.log(len(row.legal))
    return logits


def test_the_oracle_makes_no_mistake(some: Replayed, judged: Games) -> None:
    verdict = judge_logits(oracle(some), judged)
    assert (verdict.strict_rate(), verdict.lenient_rate()) == (0.0, 0.0)
    assert verdict.kl() == pytest.approx(0, abs=1e-5)
    assert max(abs(x) for x in verdict.kl_by_ply()) < 1e-5


def test_an_oracle_that_rules_moves_out_altogether(some: Replayed, judged: Games) -> None:
    verdict = judge_logits(oracle(some, never=float("-inf")), judged)
    assert verdict.strict_rate() == 0.0
    assert verdict.kl() == pytest.approx(0, abs=1e-5)


def test_positions_at_which_somebody_can_move_are_counted(some: Replayed, judged: Games) -> None:
    verdict = judge_logits(oracle(some), judged)
    by_ply = [sum(len(a) > t and bool(a[t].legal) for _, a in some) for t in range(59)]
    assert verdict.positions.tolist() == by_ply
    assert by_ply[0] == len(some)
    # The wipe-out ends after ply 8, and nothing is asked there or later.
    assert by_ply[8] < len(some)


def test_a_wrong_prediction_is_counted_where_it_is_made(some: Replayed, judged: Games) -> None:
    _, after = some[3]
    for ply in (0, 7, 30):
        row = after[ply]
        for_them = opponents(row) - row.legal
        nobody = (row.mine | row.theirs) - {27, 28, 35, 36}
        cases = [(TOKEN[min(nobody)], 1, 1), (PAD, 1, 1), (TOKEN[min(row.legal)], 0, 0)]
        if for_them:
            cases.append((TOKEN[min(for_them)], 1, 0))
        for token, strict, lenient in cases:
            logits = oracle(some)
            logits[3, ply, token] = 50.0
            verdict = judge_logits(logits, judged)
            at_ply = [0] * 59
            at_ply[ply] = 1
            assert verdict.strict.tolist() == [strict * one for one in at_ply]
            assert verdict.lenient.tolist() == [lenient * one for one in at_ply]
            assert verdict.kl_by_ply()[ply] > 1
    assert opponents(after[7]) - after[7].legal, "no case of the third kind was tried"


def test_a_mistake_where_nobody_can_move_does_not_count(some: Replayed, judged: Games) -> None:
    logits = oracle(some)
    logits[0, 8:, TOKEN[0]] = 50.0
    verdict = judge_logits(logits, judged)
    assert verdict.strict_rate() == 0.0
    assert verdict.kl() == pytest.approx(0, abs=1e-5)


def test_any_logits_equal_the_loops(some: Replayed, judged: Games) -> None:
    logits = 3 * torch.randn(len(some), 59, 61, generator=torch.Generator().manual_seed(0))
    verdict = judge_logits(logits, judged)
    positions, strict, lenient = ([0] * 59 for _ in range(3))
    divergence = [0.0] * 59
    for game, (_, after) in enumerate(some):
        for ply, row in enumerate(after[:59]):
            if not row.legal:
                continue
            scores = logits[game, ply].tolist()
            top = SQUARE_OF_TOKEN[scores.index(max(scores))].item()
            positions[ply] += 1
            strict[ply] += top not in row.legal
            lenient[ply] += top not in row.legal | opponents(row)
            total = sum(math.exp(x) for x in scores)
            share = 1 / len(row.legal)
            divergence[ply] += sum(
                share * math.log(share / (math.exp(scores[TOKEN[s]]) / total)) for s in row.legal
            )
    assert verdict.positions.tolist() == positions
    assert verdict.strict.tolist() == strict
    assert verdict.lenient.tolist() == lenient
    assert verdict.divergence.tolist() == pytest.approx(divergence, rel=1e-4)
    assert verdict.strict_rate() == pytest.approx(sum(strict) / sum(positions))
    assert verdict.lenient_rate() == pytest.approx(sum(lenient) / sum(positions))
    assert verdict.kl() == pytest.approx(sum(divergence) / sum(positions), rel=1e-4)
    assert verdict.kl_by_ply()[4] == pytest.approx(divergence[4] / positions[4], rel=1e-4)
    assert 0 < sum(lenient) < sum(strict)


def test_a_model_is_judged_by_what_it_says(model: GPT, judged: Games) -> None:
    with torch.no_grad():
        expected = judge_logits(model(tokens(judged)[:, :-1]), judged)
    verdict = legality(model, judged)
    assert torch.equal(verdict.strict, expected.strict)
    assert torch.equal(verdict.lenient, expected.lenient)
    torch.testing.assert_close(verdict.divergence, expected.divergence, rtol=1e-4, atol=1e-4)
    assert verdict.strict_rate() >= verdict.lenient_rate() > 0
    assert len(verdict.positions) == 59


def test_batches_add_up(model: GPT, judged: Games) -> None:
    whole, parts = legality(model, judged), legality(model, judged, batch=5)
    assert isinstance(parts, Legality)
    assert torch.equal(parts.positions, whole.positions)
    assert torch.equal(parts.strict, whole.strict)
    assert torch.equal(parts.lenient, whole.lenient)
    torch.testing.assert_close(parts.divergence, whole.divergence, rtol=1e-4, atol=1e-4)
    one = legality(model, judged[:10]) + legality(model, judged[10:])
    assert torch.equal(one.strict, whole.strict)
