"""Families of facts: each against loops over squares, and the standard set pinned."""

from collections.abc import Callable

import pytest
import torch
from reference import facts_by_lists as facts_slow
from reference import truth_by_lists as slow
from reference.othello_by_lists import Replayed
from reference.positions import listed, set_of

from othellolens.concepts import (
    Concept,
    ConceptSet,
    cells,
    everything,
    fact,
    families,
    family,
    standard,
)
from othellolens.concepts import concepts as concepts_module
from othellolens.encoder import Neurons
from othellolens.errors import InputError
from othellolens.evaluation.counts import count
from othellolens.gpt.model import GPT
from othellolens.gpt.sites import Site
from othellolens.lens import Lens
from othellolens.othello.boards import SYMMETRIES, Boards, transform_squares
from othellolens.othello.directions import DIRECTIONS
from othellolens.othello.games import Games, random_games
from othellolens.othello.squares import name as title
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


@pytest.mark.parametrize("name", facts_slow.FAMILIES)
def test_families_equal_loops(name: str, replayed: Replayed) -> None:
    part = replayed[:10]
    boards = listed(*(game for game, _ in part)).replay()
    concepts = family(name).concepts
    found = [
        {(concepts[i].square, concepts[i].detail) for i in row.nonzero()[:, 0].tolist()}
        for row in family(name).of(boards)
    ]
    black = boards.black.tolist()
    positions = [
        facts_slow.Position(row.mine, row.theirs, black[i], int(boards.at[i, 1]))
        for i, row in enumerate(row for _, after in part for row in after)
    ]
    assert found == [facts_slow.FAMILIES[name](position) for position in positions]


def test_every_family_has_a_slow_twin() -> None:
    names = {kind.name for kind in families()}
    assert names == {*facts_slow.FAMILIES, *FROM_BOARD, *FROM_MOVE, "passed"}


def test_a_pass_is_seen_where_it_was_forced(replayed: Replayed) -> None:
    part = replayed[:200]
    boards = listed(*(game for game, _ in part)).replay()
    found = family("passed").of(boards)[:, 0]
    before = {tuple(at): passed for at, passed in zip(boards.at.tolist(), found, strict=True)}
    for number, (game, _) in enumerate(part):
        for ply, (_, passed, _) in enumerate(slow.movers(game)):
            if ply:
                assert bool(before[number, ply - 1]) == passed
        assert not before[number, len(game) - 1]
    assert int(found.sum()) > 3


def test_every_fact_comes_true() -> None:
    boards = random_games(2500, seed=3).replay()
    seen = everything().of(boards).any(0)
    assert [str(c) for c, found in zip(everything().concepts, seen, strict=True) if not found] == []


def test_what_is_always_or_never_so_was_left_out() -> None:
    boards = random_games(2500, seed=3).replay()
    always = everything().of(boards).all(0)
    assert not bool(always.any())
    assert {c.square for c in family("empty").concepts}.isdisjoint({27, 28, 35, 36})
    for kind in families():
        assert kind.formula
        missing = {c.square for c in kind.concepts if c.square is not None}
        assert bool(kind.undefined) == (bool(missing) and len(missing) < 64), kind.name


def moved(concept: Concept, symmetry: int) -> tuple[int | None, str]:
    """Where a symmetry takes a concept."""
    to = transform_squares(symmetry).tolist()
    square = None if concept.square is None else to[concept.square]
    detail = concept.detail
    for direction in DIRECTIONS:
        length = detail.removeprefix(direction.name)
        if detail.startswith(direction.name) and (not length or length.strip().isdigit()):
            there = to[27 + direction.step] - to[27]
            return square, next(d.name for d in DIRECTIONS if d.step == there) + length
    if concept.family == "will flip":
        return square, title(to[parse(detail)])
    if concept.family.startswith("edge"):
        squares = {to[s] for s in facts_slow.EDGES[detail]}
        return square, next(e for e, s in facts_slow.EDGES.items() if set(s) == squares)
    return square, detail


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_symmetry_of_the_board_moves_every_fact(symmetry: int) -> None:
    """All families that are read off the board alone; passes and last moves need the start."""
    boards = random_games(30, seed=8).replay()
    turned = boards.transformed(symmetry)
    for kind in families():
        if kind.history:
            continue
        place = {(c.square, c.detail): i for i, c in enumerate(kind.concepts)}
        order = [place[moved(concept, symmetry)] for concept in kind.concepts]
        assert torch.equal(kind.facts(turned)[:, order], kind.facts(boards)), kind.name


@pytest.mark.parametrize("symmetry", [0, 3, 4, 7])
def test_symmetries_that_keep_the_start_move_facts_of_the_last_move(symmetry: int) -> None:
    boards = random_games(30, seed=8).replay()
    for kind in (kind for kind in families() if kind.history):
        place = {(c.square, c.detail): i for i, c in enumerate(kind.concepts)}
        order = [place[moved(concept, symmetry)] for concept in kind.concepts]
        turned = kind.facts(boards.transformed(symmetry))
        assert torch.equal(turned[:, order], kind.facts(boards)), kind.name


def test_adding_a_family_is_one_function(games: Games) -> None:
    concept = Concept("a1 and h8", None, "both")
    if "a1 and h8" not in {kind.name for kind in families()}:

        @fact("a1 and h8", [concept], "a1 and h8 both hold a disc")
        def both(boards: Boards) -> torch.Tensor:
            return (boards.mine | boards.theirs)[:, None].bitwise_and(1 | -(1 << 63)) == (
                1 | -(1 << 63)
            )

        del both
    try:
        found = family("a1 and h8").of(games.replay())[:, 0]
        squares = games.replay().squares()[:, :2].any(1)
        assert torch.equal(found, squares[:, 0] & squares[:, 63])
        assert str(concept) == "a1 and h8 both"
        with pytest.raises(InputError, match="there is a concept family 'mine' already"):
            fact("mine", [], "")(lambda boards: boards.squares()[:, 0])
        with pytest.raises(InputError, match="must name it"):
            fact("new", [Concept("old", 3)], "")(lambda boards: boards.squares()[:, 0])
    finally:
        concepts_module._FAMILIES.pop("a1 and h8", None)


def test_concepts_of_a_set_keep_their_order(games: Games) -> None:
    boards = games.replay()
    picked = tuple(everything().concepts[i] for i in (900, 3, 2000, 901, 3400, 70))
    found = ConceptSet(picked).of(boards)
    whole = everything().of(boards)
    assert torch.equal(found, whole[:, [900, 3, 2000, 901, 3400, 70]])
    with pytest.raises(InputError, match="no concept 'd4 empty' in family 'empty'"):
        ConceptSet((Concept("empty", 27),)).of(boards)
    assert ConceptSet(()).of(boards).shape == (len(boards), 0)


def test_concepts_read_as_people_write_them() -> None:
    names = [str(concept) for concept in everything().concepts]
    assert len(set(names)) == len(names) == 3507
    for name in ("f5 mine", "f5 line up 3", "c4 will flip d4", "c4 legal by direction right"):
        assert name in names
    for name in ("mobility mine 3-5", "phase plies 10-19", "passed", "corners theirs at least 2"):
        assert name in names
    assert len(family("line")) == len(family("will flip")) == 960


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
