"""Portraits of features, and circuits held against the flanking lines."""

from collections.abc import Iterator

import pytest
import torch
from reference.othello_by_lists import DIRECTIONS, flips, play, random_game, replay, start
from reference.tiny import tiny_model
from reference.truth_by_lists import line

from othellolens.circuits.graph import Graph, Node
from othellolens.circuits.known import flanking_lines, on_line
from othellolens.circuits.paths import Paths
from othellolens.circuits.portraits import Portraits, known_facts, portraits, squares_of
from othellolens.circuits.replacement import Replacement
from othellolens.concepts import Concept, ConceptSet, family
from othellolens.errors import InputError
from othellolens.evaluation.scores import Match
from othellolens.gpt.sites import Site
from othellolens.gpt.tokens import tokens
from othellolens.lens import Lens, Read
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import parse
from othellolens.sae.topk import TopK

CONCEPTS = ("c3 mine", "f5 empty", "d6 legal")


class Facts:
    """Features that are facts, and one that is never on."""

    def __init__(self, concepts: ConceptSet) -> None:
        self.concepts = concepts

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        boards = games.replay()
        facts = self.concepts.of(boards).float()
        yield Read(boards, facts, torch.cat([facts, torch.zeros(len(facts), 1)], 1))


def chosen() -> ConceptSet:
    return ConceptSet(tuple(c for c in known_facts().concepts if str(c) in CONCEPTS))


def test_a_feature_that_is_a_fact_is_called_by_it(games: Games) -> None:
    found = portraits(Facts(chosen()), games)
    for feature, concept in enumerate(chosen().concepts):
        assert found.label(feature) == f"{concept} (F1 1.00)"
        assert found.squares(feature) == {concept.square}
    assert found.label(3) == "never on" and found.squares(3) == frozenset()


def test_the_board_of_a_feature_is_what_differs_where_it_is_on(games: Games) -> None:
    found = portraits(Facts(chosen()), games)
    boards = games.replay()
    squares, facts = boards.squares(), chosen().of(boards)
    sign = squares[:, 0].float() - squares[:, 1].float()
    for feature in range(3):
        expected = sign[facts[:, feature]].mean(0) - sign.mean(0)
        torch.testing.assert_close(found.boards[feature], expected, atol=1e-5, rtol=1e-4)
        assert float(found.density[feature]) == pytest.approx(
            float(facts[:, feature].float().mean())
        )
    assert not found.boards[3].any()
    mine = [str(c) for c in chosen().concepts].index("c3 mine")
    assert int(found.boards[mine].argmax()) == parse("c3")


@pytest.mark.parametrize("name", ["line", "will flip"])
def test_the_squares_of_a_line_are_those_on_it(name: str, games: Games) -> None:
    """A line that holds has mine at its end, theirs between, and nothing at its beginning."""
    boards = games[:8].replay()
    concepts = family(name)
    facts, squares = concepts.of(boards), boards.squares()
    seen = 0
    for row, column in facts.nonzero().tolist()[::17]:
        concept = concepts.concepts[column]
        assert concept.square is not None
        on = squares_of(concept)
        states = [int(squares[row, :, s].int().argmax()) for s in sorted(on)]
        assert concept.square in on and bool(squares[row, 2, concept.square])
        assert states.count(2) == 1
        assert states.count(0) == (name == "line") and states.count(1) == len(on) - 1 - (
            name == "line"
        )
        assert any(on <= {concept.square} | line(concept.square, *d) for d in DIRECTIONS)
        seen += 1
    assert seen > 20
    assert squares_of(Concept("passed")) == frozenset()
    assert squares_of(Concept("mine", 5)) == {5}


def test_flanking_lines_are_the_flips_and_what_is_at_their_ends() -> None:
    import random

    game = random_game(random.Random(3))
    board, after = start(), replay(game)
    checked = 0
    moves = torch.tensor([game + [-1] * (60 - len(game))], dtype=torch.int8)
    boards = Games(moves, "one").replay()
    sign = "X"
    for ply, square in enumerate(game[:-1]):
        board = play(board, square, sign)
        sign = "X" if after[ply].black else "O"
        for move in sorted(after[ply].legal):
            found = flanking_lines(boards[ply : ply + 1], move)
            turned = flips(board, move, sign)
            assert found & after[ply].theirs == turned
            ends = found - turned - {move}
            assert ends <= after[ply].mine
            # Every end is one step beyond a disc that is turned, away from the move.
            for end in ends:
                assert any(
                    {move, end} <= {move} | line(move, *d) and line(move, *d) & turned
                    for d in DIRECTIONS
                )
            assert len(ends) >= 1
            checked += 1
    assert checked > 100
    with pytest.raises(InputError, match="a1 is not a legal move there"):
        flanking_lines(boards[:1], 0)
    with pytest.raises(InputError, match="2 positions"):
        flanking_lines(boards[:2], 0)


def look(facts: list[Concept]) -> Portraits:
    matches = tuple(Match(i, 0.0, fact, 1.0, 1.0, 1.0) for i, fact in enumerate(facts))
    return Portraits(matches, torch.zeros(len(facts), 64), torch.ones(len(facts)))


def test_shares_on_the_line_are_counted_beside_chance() -> None:
    """After f5 d6 White is to play again: a graph by hand."""
    model = tiny_model()
    lenses = []
    for layer in range(2):
        encoder = TopK(6, k=2).build(32, d_out=32, seed=layer)
        encoder.metadata["hook_name_out"] = f"blocks.{layer}.hook_mlp_out"
        lenses.append(Lens(model, Site("ln2", layer), encoder.eval()))
    replacement = Replacement.of(lenses)
    moves = torch.full((1, 60), -1, dtype=torch.int8)
    moves[0, :2] = torch.tensor([parse("f5"), parse("d6")])
    history = Games(moves, "one")
    # Black to move: c5 flanks d5 along the digits, and ends at e5? The rules say which.
    square = min(s for s in range(64) if int(history.replay()[-1:].legal()[0]) >> s & 1)
    lines = flanking_lines(history.replay()[-1:], square)
    off = next(s for s in range(64) if s not in lines)
    inner = next(iter(lines - {square}))
    facts = [
        Concept("mine", inner),
        Concept("legal", square),
        Concept("theirs", off),
        Concept("empty", off),
        Concept("mine", off),
        Concept("theirs", inner),
    ]
    looks = [look(facts), look(facts)]
    paths = Paths(replacement, tokens(history)[:, :2])
    nodes = (
        Node("feature", 0, 1, 0, 1.0, 0.9),  # inner: on the line, beyond the move
        Node("feature", 1, 1, 1, 1.0, 0.8),  # the move itself: on the line only
        Node("feature", 1, 0, 2, 1.0, 0.7),  # elsewhere
        Node("feature", 1, 0, 3, 1.0, 0.01),  # not among the top three
        Node("move", -1, 0, parse("f5"), 0.0, 0.6),
        Node("logit", 2, 1, square, 1.0, 1.0),
    )
    none = torch.zeros(0, dtype=torch.int64)
    graph = Graph(history, square, nodes, none, none, none.float(), torch.zeros(6), torch.zeros(6))
    found = on_line([graph], looks, [paths], top=3)
    assert float(found.features[0]) == pytest.approx(2 / 3)
    assert float(found.beyond[0]) == pytest.approx(1 / 3)
    chance = [
        sum(f in (0, 1, 5) for f in paths.active[layer][1].tolist()) / len(paths.active[layer][1])
        for layer in range(2)
    ]
    expected = (chance[0] + 2 * chance[1]) / 3
    assert float(found.features_by_chance[0]) == pytest.approx(expected)
    assert float(found.moves[0]) == float(parse("f5") in lines)
    assert float(found.moves_by_chance[0]) == sum(parse(m) in lines for m in ("f5", "d6")) / 2
    assert found.interval("features").value == pytest.approx(2 / 3)


def test_no_features_are_no_share() -> None:
    boards = random_games(2, seed=1)
    with pytest.raises(InputError, match="1 games: facts are chosen on some"):
        portraits(Facts(chosen()), boards[:1])
    with pytest.raises(InputError, match="50 times in either half of 2 games"):
        portraits(Facts(chosen()), boards)
