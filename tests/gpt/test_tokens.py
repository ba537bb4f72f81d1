"""The 61 tokens: every one, both ways, and what has none."""

import pytest
import torch

from othellolens.errors import InputError
from othellolens.gpt.tokens import (
    CONTEXT,
    PAD,
    SQUARE_OF_TOKEN,
    VOCABULARY,
    squares,
    token_of,
    tokens,
)
from othellolens.othello.games import Games

CENTRE = {27, 28, 35, 36}


def listed(*moves: int) -> Games:
    return Games(torch.tensor([moves], dtype=torch.int8), "by hand")


def by_rule(square: int) -> int:
    """The published numbering, written out."""
    if square <= 26:
        return square + 1
    if 29 <= square <= 34:
        return square - 1
    return square - 3


def test_every_playable_square_has_its_token() -> None:
    playable = [square for square in range(64) if square not in CENTRE]
    ids = tokens(listed(*playable))
    assert ids.dtype == torch.int64
    assert ids.tolist() == [[by_rule(square) for square in playable]]
    assert sorted(ids[0].tolist()) == list(range(1, 61))


def test_a_square_has_its_token_or_a_reason() -> None:
    for square in set(range(64)) - CENTRE:
        assert token_of(square) == by_rule(square)
    with pytest.raises(InputError, match="d4 is of the centre"):
        token_of(27)
    with pytest.raises(InputError, match="squares are 0 to 63"):
        token_of(64)


def test_every_token_has_its_square() -> None:
    back = squares(torch.arange(61)[None])
    assert back.dtype == torch.int8
    assert back[0, 0] == -1
    assert [by_rule(square) for square in back[0, 1:].tolist()] == list(range(1, 61))
    assert SQUARE_OF_TOKEN.tolist() == back[0].tolist()
    assert (PAD, VOCABULARY, CONTEXT) == (0, 61, 59)


def test_golden_f5_is_token_41() -> None:
    assert tokens(listed(44)).tolist() == [[41]]
    assert squares(torch.tensor([[41]])).tolist() == [[44]]


def test_games_round_trip_with_padding_after_the_end(games: Games) -> None:
    short = Games(games.moves.clone(), "cut")
    short.moves[0, 9:] = -1
    ids = tokens(short)
    assert ids[0, 9:].tolist() == [PAD] * 51
    assert torch.equal(squares(ids), short.moves)


@pytest.mark.parametrize(("square", "shown"), [(27, "d4"), (28, "d5"), (35, "e4"), (36, "e5")])
def test_the_centre_has_no_token(square: int, shown: str) -> None:
    with pytest.raises(InputError, match=f"game 0, ply 1: {shown} is no playable square"):
        tokens(listed(44, square))


@pytest.mark.parametrize("number", [-2, -128, 64, 108, 127])
def test_what_is_no_square_has_no_token(number: int) -> None:
    two = Games(torch.tensor([[44, 29, 18], [44, 29, number]], dtype=torch.int8), "by hand")
    with pytest.raises(InputError, match=f"game 1, ply 2: {number} is no playable square"):
        tokens(two)


@pytest.mark.parametrize("bad", [-1, 61, 63])
def test_ids_outside_the_vocabulary_are_refused(bad: int) -> None:
    with pytest.raises(InputError, match=rf"token {bad} is outside .*0\.\.60.*ol\.tokens\(games\)"):
        squares(torch.tensor([[0, 60], [1, bad]]))


@pytest.mark.parametrize("shape", [(0, 60), (3, 0)])
def test_nothing_has_no_tokens(shape: tuple[int, int]) -> None:
    empty = torch.empty(shape, dtype=torch.int8)
    ids = tokens(Games(empty, "none"))
    assert ids.shape == shape
    assert torch.equal(squares(ids), empty)
