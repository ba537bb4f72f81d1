"""Families of facts: each against loops over squares, and the standard set pinned."""

from collections.abc import Callable

import pytest
import torch
from reference import truth_by_lists as slow
from reference.othello_by_lists import Replayed
from reference.positions import listed, set_of

from othellolens.concepts import Concept, ConceptSet, cells, family, standard
from othellolens.encoder import Neurons
from othellolens.errors import InputError
from othellolens.evaluation.counts import count
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.lens import Lens
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import parse

FROM_BOARD: dict[str, Callable[[set[int], set[int]], set[int]]] = {
    "mine": lambda mine, theirs: mine,
    "theirs": lambda mine, theirs: theirs,
    "empty": lambda mine, theirs: set(range(64)) - mine - theirs,
    "legal": slow.legal,
    "legal theirs": lambda mine, theirs: slow.legal(theirs, mine),
    "frontier mine": slow.frontier,
    "frontier theirs": lambda mine, theirs: slow.frontier(theirs, mine),
    "stable mine": slow.stable,
    "stable theirs": lambda mine, theirs: slow.stable(theirs, mine),
}
FROM_MOVE = ("played", "flipped")


def spelled(name: str, replayed: Replayed) -> list[set[int]]:
    """The squares at which a family holds, row by row, by way of its concepts."""
    concepts = family(name)
    facts = concepts.of(listed(*(game for game, _ in replayed)).replay())
    where = torch.tensor([concept.square for concept in concepts.concepts])
    return [set(where[row].tolist()) for row in facts]


@pytest.mark.parametrize("name", FROM_BOARD)
def test_families_of_the_board(name: str, replayed: Replayed) -> None:
    part = replayed[:12]
    right = [FROM_BOARD[name](row.mine, row.theirs) for _, after in part for row in after]
    assert spelled(name, part) == right


def test_families_of_the_last_move(replayed: Replayed) -> None:
    part = replayed[:40]
    assert spelled("played", part) == [{square} for game, _ in part for square in game]
    flips = [row[2] for game, _ in part for row in slow.movers(game)]
    assert spelled("flipped", part) == [set().union(*lines.values()) for lines in flips]


def test_what_was_played_needs_whole_games(games: Games) -> None:
    boards = games.replay()
    assert set_of(family("played").of(boards[:3])[0])
    for name in FROM_MOVE:
        with pytest.raises(InputError, match=r"all rows of games\.replay\(\)"):
            family(name).of(boards[torch.tensor([4, 9])])


@pytest.mark.parametrize("name", [*FROM_BOARD, *FROM_MOVE])
def test_every_fact_of_a_family_comes_true(name: str) -> None:
    assert family(name).of(random_games(1500, seed=3).replay()).any(0).all()


def test_the_standard_set_is_as_published() -> None:
    assert standard() == cells() + family("empty") + family("legal")
    assert (len(cells()), len(standard()), len(family("flipped"))) == (128, 248, 60)
    assert standard().families == ("mine", "theirs", "empty", "legal")
    assert str(Concept("frontier mine", parse("f5"))) == "f5 frontier mine"


def test_families_mix(games: Games) -> None:
    mixed = family("stable mine") + family("played")
    facts = mixed.of(games.replay())
    assert facts.shape == (int(games.lengths().sum()), 124)
    assert mixed.families == ("stable mine", "played")


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(InputError, match="no concept family 'edge': choose of mine, .*, stable"):
        family("edge")
    with pytest.raises(InputError, match="no concept family 'edge'"):
        ConceptSet((Concept("edge", 0),))


def test_the_judge_counts_them(model: GPT, games: Games) -> None:
    """The judge reads batches of games with numbers of their own; every row has its last move."""
    lens = Lens(model, Site("resid_post", layer=0), Neurons())
    counts = count(lens, games, family("played") + family("flipped"))
    played = int(counts.only("played").holds.sum())
    assert played == int(counts.positions.sum()) == int((games.moves[:, :59] != -1).sum())
