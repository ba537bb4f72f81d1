"""The behavioural tests against planted players, whose scores follow from what they are."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from reference import othello_by_lists as slow
from reference.othello_by_lists import Replayed
from torch import Tensor

from othellolens.errors import InputError
from othellolens.evaluation.worldmodel import (
    agreement,
    beginnings,
    behaviour,
    compression,
    detours,
    different_pairs,
    distinction,
    oracle,
    player_of,
    transposition_pairs,
)
from othellolens.evaluation.worldmodel.agreement import histories
from othellolens.evaluation.worldmodel.myhill_nerode import boundaries, compression_pairs
from othellolens.evaluation.worldmodel.players import last_logits
from othellolens.evaluation.worldmodel.positions import Positions
from othellolens.gpt.legality import legality
from othellolens.gpt.model import GPT
from othellolens.gpt.tokens import PAD, SQUARE_OF_TOKEN, tokens
from othellolens.othello.games import Games, random_games

TOKEN = {int(square): token for token, square in enumerate(SQUARE_OF_TOKEN.tolist()) if token}
Says = Callable[[list[int]], set[int]]
"""Squares that a planted player holds for possible after a list of squares."""


def planted(says: Says) -> Callable[[Tensor], Tensor]:
    """Uniform over what it says; everything on padding where it says nothing."""

    def play(ids: Tensor) -> Tensor:
        logits = torch.full((*ids.shape, 61), -40.0)
        for row, moves in enumerate(SQUARE_OF_TOKEN[ids].tolist()):
            known = [square for square in moves if square >= 0]
            for ply in range(len(known)):
                chosen = [TOKEN[square] for square in says(known[: ply + 1])]
                logits[row, ply, chosen or [PAD]] = 0.0
        return logits

    return play


@cache
def stand(moves: tuple[int, ...]) -> tuple[slow.Board, str, frozenset[int]]:
    """Board, side to move and legal moves by the lists; no move after one that breaks the rules."""
    if not moves:
        return slow.start(), "X", frozenset({19, 26, 37, 44})
    board, sign, legal = stand(moves[:-1])
    if moves[-1] not in legal:
        return board, sign, frozenset()
    board, sign = slow.play(board, moves[-1], sign), slow.other(sign)
    following = slow.legal_moves(board, sign)
    if not following:
        sign = slow.other(sign)
        following = slow.legal_moves(board, sign)
    return board, sign, frozenset(following)


def rules(moves: list[int]) -> set[int]:
    """What is legal, by the lists."""
    return set(stand(tuple(moves))[2])


def blind(moves: list[int]) -> set[int]:
    """Holds everything for possible."""
    return set(TOKEN)


def forgetful(moves: list[int]) -> set[int]:
    """Has not seen the last move."""
    return rules(moves[:-1]) if len(moves) > 1 else {19, 26, 37, 44}


def one_sided(moves: list[int]) -> set[int]:
    """Knows all moves of games that open with d3 = 26, and the lowest of all others."""
    legal = rules(moves)
    return legal if moves[0] == 26 else {min(legal)} if legal else set()


def as_games(lists: list[list[int]]) -> Games:
    moves = torch.full((len(lists), 60), -1, dtype=torch.int8)
    for row, game in enumerate(lists):
        moves[row, : len(game)] = torch.tensor(game, dtype=torch.int8)
    return Games(moves, "by hand")


@pytest.fixture(scope="module")
def short() -> Games:
    """Three thousand games of twelve moves, so that many positions are reached twice."""
    return Games(random_games(3000, seed=4).moves[:, :12], "the first twelve moves")


@pytest.fixture(scope="module")
def hard(replayed: Replayed) -> Games:
    """A wipe-out, a pass, and games to the end."""
    return as_games([game for game, _ in replayed[:12]])


def lists(games: Games, at: Tensor) -> list[list[int]]:
    return [games.moves[game, : ply + 1].tolist() for game, ply in at.tolist()]


# Those who know the rules are perfect, and the oracle is one of them.


def test_the_oracle_says_what_the_lists_say(hard: Games) -> None:
    ids = tokens(hard)
    for row, moves in enumerate(hard.moves.tolist()):
        known = [square for square in moves if square >= 0]
        chances = oracle(ids[row : row + 1, : len(known)])[0].softmax(-1)
        for ply, after in enumerate(slow.replay(known)):
            legal = sorted(TOKEN[square] for square in after.legal) or [PAD]
            assert chances[ply].nonzero()[:, 0].tolist() == legal
            torch.testing.assert_close(
                chances[ply, legal], torch.full((len(legal),), 1 / len(legal))
            )


def test_the_rules_are_perfect_everywhere(hard: Games, short: Games) -> None:
    for player in (oracle, planted(rules)):
        judged = behaviour(player, hard[:4]).rates()
        assert judged.pop("mass") == pytest.approx(1)
        assert judged.pop("kl") == pytest.approx(0, abs=1e-6)
        assert judged == {"strict": 0, "lenient": 0, "legal_accepted": 1, "illegal_accepted": 0}
        pairs = transposition_pairs(short, 20)
        assert agreement(player, short, pairs).rates() == pytest.approx(
            {"pairs": 20, "top": 1, "distance": 0, "overlap": 1}
        )
        squeezed = compression(player, short, 6, samples=3, depth=3)
        assert (squeezed.positions, squeezed.precision()) == (6, 1.0)
        told = distinction(player, hard, 6, samples=3, depth=3)
        assert (told.pairs, told.drawn, told.real) == (6, told.real, told.drawn)
        assert told.precision() == told.precision_as_published() == told.recall() == 1.0
        assert told.precision_error() == told.recall_error() == 0.0
        for share, kind in ((0.0, "random"), (0.5, "random"), (0.5, "adversarial")):
            assert detours(player, hard[:3], share=share, kind=kind).legal_games() == 1.0  # pyright: ignore


# Legality


def test_behaviour_of_a_model_is_its_legality(model: GPT, hard: Games) -> None:
    ours, theirs = behaviour(player_of(model), hard), legality(model, hard)
    assert torch.equal(ours.positions, theirs.positions)
    assert torch.equal(ours.strict, theirs.strict)
    assert torch.equal(ours.lenient, theirs.lenient)
    assert ours.rates()["kl"] == pytest.approx(theirs.kl())
    phases = [ours.during(phase) for phase in ("opening", "middle", "end")]
    assert sum(int(part.positions.sum()) for part in phases) == int(theirs.positions.sum())


def test_what_a_forgetful_player_accepts_is_counted_by_hand(hard: Games) -> None:
    right = wrong = legal = positions = 0
    mass = 0.0
    for moves in hard[:3].moves.tolist():
        known = [square for square in moves if square >= 0]
        for ply, after in enumerate(slow.replay(known)[:59]):
            said = forgetful(known[: ply + 1])
            if after.legal:
                positions, legal = positions + 1, legal + len(after.legal)
                right, wrong = right + len(said & after.legal), wrong + len(said - after.legal)
                mass += len(said & after.legal) / max(1, len(said))
    found = behaviour(planted(forgetful), hard[:3]).rates()
    assert found["legal_accepted"] == pytest.approx(right / legal)
    assert found["illegal_accepted"] == pytest.approx(wrong / (60 * positions - legal))
    assert found["mass"] == pytest.approx(mass / positions, abs=1e-6)
    assert 0 < found["strict"] <= 1


# Two histories of one position


def same_position(one: list[int], other: list[int]) -> bool:
    a, b = (slow.replay(moves)[-1] for moves in (one, other))
    return (a.mine, a.theirs, a.black) == (b.mine, b.theirs, b.black)


def test_pairs_are_what_they_are_said_to_be(short: Games, hard: Games) -> None:
    pairs = transposition_pairs(short, 50, seed=3)
    assert len(pairs) == 50
    for pair in pairs:
        one, other = lists(short, pair)
        assert one != other
        assert same_position(one, other)
        assert rules(one), "somebody can move"
    plies = torch.tensor([3, 20, 57])
    for ply, pair in zip(plies.tolist(), different_pairs(hard, plies), strict=True):
        one, other = lists(hard, pair)
        assert len(one) == len(other) == ply + 1
        assert not same_position(one, other)
    with pytest.raises(InputError, match="no two different positions"):
        different_pairs(as_games([[26, 18, 19]] * 3), torch.tensor([1]))


def test_agreement_is_counted_by_hand(short: Games) -> None:
    """The one-sided player answers with all moves or with the lowest: 1 - 1/n apart, 1/n common."""
    pairs = transposition_pairs(short, 60, seed=1)
    top = distance = overlap = 0.0
    for pair in pairs:
        one, other = (one_sided(moves) for moves in lists(short, pair))
        number = max(len(one), len(other))
        same = len(one) == len(other)
        # Among equals argmax takes the first token, so the lowest move.
        top, distance = top + 1, distance + (0 if same else 1 - 1 / number)
        overlap += 1 if same else 1 / number
    found = agreement(planted(one_sided), short, pairs)
    assert found.rates() == pytest.approx(
        {"pairs": 60, "top": top / 60, "distance": distance / 60, "overlap": overlap / 60}, abs=1e-5
    )
    assert distance > 5
    by_ply = found.pairs.tolist()
    assert all(by_ply[ply] == int((pairs[:, 0, 1] == ply).sum()) for ply in range(59))


# Myhill-Nerode


def test_compression_of_a_one_sided_player_is_counted_by_hand(short: Games) -> None:
    """With one move a suffix: apart where s1 knows several moves and s2 the lowest only."""
    pairs = compression_pairs(short, 25, seed=2)
    kept = 0
    for pair in pairs:
        one, other = (one_sided(moves) for moves in lists(short, pair))
        kept += not (one - other)
    found = compression(planted(one_sided), short, 25, samples=200, depth=1, seed=2)
    assert (found.positions, found.kept) == (25, kept)
    assert 0 < kept < 25
    seen = {tuple(sorted(slow.replay(moves)[-1].mine)) for moves in lists(short, pairs[:, 0])}
    assert len(seen) == 25, "no position twice"


@pytest.mark.parametrize("says", [forgetful, one_sided])
def test_distinction_is_counted_by_hand(says: Says, hard: Games) -> None:
    """With one move a suffix, drawn often enough that every move of a boundary comes up."""
    count, seed = 12, 5
    found = distinction(planted(says), hard, count, samples=400, depth=1, seed=seed)
    plies = torch.randint(3, 59, (count,), generator=torch.Generator().manual_seed(seed))
    precise: list[float] = []
    recalled: list[float] = []
    for pair in different_pairs(hard, plies, seed=seed):
        one, other = lists(hard, pair)
        drawn, real = says(one) - says(other), rules(one) - rules(other)
        precise += [len(drawn & real) / len(drawn)] if drawn else []
        recalled += [len(real & drawn) / len(real)] if real else []
    assert (found.drawn, found.real) == (len(precise), len(recalled))
    assert found.precision() == pytest.approx(sum(precise) / len(precise))
    assert found.recall() == pytest.approx(sum(recalled) / len(recalled))
    published = (sum(precise) + count - len(precise)) / count
    assert found.precision_as_published() == pytest.approx(published)
    spread = torch.tensor(recalled).std() / len(recalled) ** 0.5
    assert found.recall_error() == pytest.approx(float(spread), rel=1e-4)


def test_a_player_that_ignores_the_history_tells_nothing_apart(hard: Games, short: Games) -> None:
    player = planted(blind)
    assert compression(player, short, 4, samples=2, depth=2).precision() == 1.0
    told = distinction(player, hard, 4, samples=2, depth=2)
    assert (told.drawn, told.recall(), told.precision_as_published()) == (0, 0.0, 1.0)
    assert told.precision() != told.precision(), "the share of nothing is no number"


def test_boundaries_end_where_the_histories_part(hard: Games) -> None:
    """Each suffix is legal after the first, and its last move alone is illegal after the second."""
    pair = different_pairs(hard, torch.tensor([5, 40]))
    one, other = (histories(hard, pair[:, side], 60) for side in (0, 1))
    chance = torch.Generator().manual_seed(0)
    found = boundaries(oracle, one, other, 30, None, 0.01, chance)
    for (before, after), suffixes in zip((lists(hard, row) for row in pair), found, strict=True):
        assert suffixes
        for suffix in suffixes:
            moves = [int(SQUARE_OF_TOKEN[token]) for token in suffix]
            for step, move in enumerate(moves):
                assert move in rules(before + moves[:step])
                assert (move in rules(after + moves[:step])) == (step < len(moves) - 1)


def test_games_with_fewer_columns(hard: Games) -> None:
    """As they come from histories that somebody cut."""
    cut = hard.moves[:, :40]
    whole = torch.nn.functional.pad(cut, (0, 20), value=-1)
    one, other = (behaviour(oracle, Games(moves, "cut")) for moves in (cut, whole))
    assert int(one.positions.sum()) > 0
    for column, right in zip(one, other, strict=True):
        assert torch.equal(column, right)


# Detours


def test_detours_of_one_who_knows_nothing(hard: Games) -> None:
    for kind in ("random", "adversarial"):
        led = detours(planted(blind), hard, share=1.0, kind=kind)  # pyright: ignore
        assert led.legal_games() == 1.0, "every move is given"
        assert led.moves == led.illegal == 0
    alone = detours(planted(blind), hard, share=0.0)
    assert alone.finished == 0
    assert alone.illegal == alone.games == len(hard)
    assert alone.moves >= len(hard)


def test_detours_are_as_frequent_as_asked(hard: Games) -> None:
    """A player that knows the rules makes the rest of the moves itself."""
    games = random_games(64, seed=2)
    found = detours(oracle, games, share=0.25, opening=10)
    everything = detours(oracle, games, share=0.0, opening=10).moves
    assert found.moves / everything == pytest.approx(0.75, abs=0.03)
    assert detours(oracle, games, share=0.25, opening=10) == found, "seeded"
    assert detours(oracle, games, share=0.25, opening=10, seed=1) != found


def test_a_random_detour_is_another_move_than_its_own() -> None:
    """One who would play the lowest move is never led there, if there is another."""
    asked: list[list[int]] = []

    def lowest(moves: list[int]) -> set[int]:
        asked.append(moves)
        legal = rules(moves)
        return {min(legal)} if legal else set()

    detours(planted(lowest), random_games(2, seed=4), share=1.0, opening=4)
    led = [moves for moves in asked if len(moves) > 4]
    assert len(led) > 80
    for moves in led:
        legal = rules(moves[:-1])
        assert len(legal) == 1 or moves[-1] != min(legal)


def test_openings_are_counted_once() -> None:
    """The tree of the rules has 4, 12, 56 and 244 sequences of 1 to 4 moves."""
    games = random_games(20_000, seed=3)
    assert [beginnings(games, opening) for opening in (1, 2, 3, 4)] == [4, 12, 56, 244]
    assert beginnings(Games(games.moves[[0, 0, 0]], "one game thrice")) == 1
    short = games.moves[:2].clone()
    short[0, 4:] = -1
    assert beginnings(Games(short, "one is over"), 4) == 1


# Foundations


def test_positions_are_those_of_the_lists(hard: Games) -> None:
    for moves in hard.moves.tolist():
        known = [square for square in moves if square >= 0]
        now = Positions.start(1)
        for square, after in zip(known, slow.replay(known), strict=True):
            now = now.play(torch.tensor([square]))
            legal = {s for s in range(64) if int(now.legal[0]) >> s & 1}
            mine = {s for s in range(64) if int(now.mine[0]) >> s & 1}
            assert (legal, bool(now.over[0])) == (after.legal, not after.legal)
            assert mine == after.mine or not after.legal
        broken = now.play(torch.tensor([27]))
        assert bool(broken.broken[0])
        assert int(broken.legal[0]) == 0
        assert not bool(broken.over[0])


def test_histories_are_asked_in_any_order_and_once(model: GPT, hard: Games) -> None:
    at = torch.tensor([[3, 20], [4, 5], [3, 20], [5, 40]], dtype=torch.int32)
    ids, asked = histories(hard, at), []
    player = player_of(model)

    def counted(some: Tensor) -> Tensor:
        asked.append(len(some))
        return player(some)

    found = last_logits(counted, ids)
    assert sum(asked) == 3
    for row, (game, ply) in enumerate(at.tolist()):
        alone = player(tokens(hard)[game : game + 1, : ply + 1])[0, -1]
        torch.testing.assert_close(found[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, 0.2, float("nan")])
def test_a_threshold_that_the_rules_would_not_pass_is_refused(epsilon: float, hard: Games) -> None:
    with pytest.raises(InputError, match="epsilon must be above 0 and below 1/33"):
        behaviour(oracle, hard, epsilon=epsilon)


def test_what_cannot_be_measured_is_refused(hard: Games) -> None:
    with pytest.raises(InputError, match="share must be 0 to 1"):
        detours(oracle, hard, share=1.5)
    with pytest.raises(InputError, match="two games of five moves"):
        distinction(oracle, hard[:1], 3)
