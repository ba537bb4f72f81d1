"""Every name of every square, both ways, and what is no square."""

import pytest

from othellolens.errors import InputError
from othellolens.gpt.tokens import tokens
from othellolens.othello.games import random_games
from othellolens.othello.squares import CENTRE, PLAYABLE, SQUARES, Notation, name, parse

NOTATIONS: list[Notation] = ["standard", "notebook"]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_names_round_trip(notation: Notation) -> None:
    names = [name(square, notation) for square in SQUARES]
    assert len(set(names)) == 64
    assert [parse(one, notation) for one in names] == list(range(64))


def test_standard_names_are_letter_then_digit() -> None:
    written = [letter + digit for letter in "abcdefgh" for digit in "12345678"]
    assert [name(square) for square in SQUARES] == written
    assert [parse(one) for one in written] == list(range(64))
    assert [parse(one.upper()) for one in written] == list(range(64))


def test_notebook_labels_are_capital_and_count_from_zero() -> None:
    written = [letter + digit for letter in "ABCDEFGH" for digit in "01234567"]
    assert [name(square, "notebook") for square in SQUARES] == written
    assert [parse(one, "notebook") for one in written] == list(range(64))


def test_golden_f5() -> None:
    assert parse("f5") == parse("F5") == parse("F4", "notebook") == 44
    assert (name(44), name(44, "notebook")) == ("f5", "F4")
    games = random_games(64, seed=0)
    assert set(tokens(games)[games.moves == 44].tolist()) == {41}


def test_the_centre_is_d4_d5_e4_e5() -> None:
    assert [name(square) for square in CENTRE] == ["d4", "d5", "e4", "e5"]
    assert sorted((*CENTRE, *PLAYABLE)) == list(range(64))
    assert list(PLAYABLE) == sorted(PLAYABLE)


@pytest.mark.parametrize("square", [-1, 64, 1000])
@pytest.mark.parametrize("notation", NOTATIONS)
def test_a_number_that_is_no_square_is_refused(square: int, notation: Notation) -> None:
    with pytest.raises(InputError, match=rf"no square {square}: .*0 \(a1\) to 63 \(h8\)"):
        name(square, notation)


@pytest.mark.parametrize("text", ["", "f", "5", "5f", "i1", "a0", "a9", "f55", " f5", "f 5", "ａ1"])
def test_a_text_that_is_no_square_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="standard notation: write a letter a-h and a digit 1-8"):
        parse(text)


@pytest.mark.parametrize("text", ["", "f4", "F", "4F", "I0", "A8", "F44", "F４"])
def test_a_text_that_is_no_notebook_label_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="notebook notation: write a letter A-H and a digit 0-7"):
        parse(text, "notebook")


def test_the_refused_text_is_shown() -> None:
    with pytest.raises(InputError, match="'z9'"):
        parse("z9")
