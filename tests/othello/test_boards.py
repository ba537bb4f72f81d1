"""Boards: their text, their symmetries, their squares."""

from itertools import product

import numpy as np
import pytest
import torch
from reference.othello_by_lists import Replayed

from othellolens.errors import InputError
from othellolens.othello.boards import (
    SYMMETRIES,
    Boards,
    pack,
    to_bits,
    to_tensor,
    transform_squares,
    unpack,
)
from othellolens.othello.games import Games
from othellolens.othello.squares import parse

AFTER_F5 = """\
  a b c d e f g h   O to move
1 . . . . . . . .
2 . . . . . . . .
3 . . . . . . . .
4 . . . O X * . .
5 . . . X X X . .
6 . . . * . * . .
7 . . . . . . . .
8 . . . . . . . ."""


def lone(*moves: int) -> Games:
    row = torch.full((1, 60), -1, dtype=torch.int8)
    row[0, : len(moves)] = torch.tensor(moves)
    return Games(row, "by hand")


def same(one: Boards, other: Boards) -> bool:
    return torch.equal(one.mine, other.mine) and torch.equal(one.theirs, other.theirs)


def test_the_text_of_the_board_after_f5() -> None:
    assert lone(44).replay().text(0) == AFTER_F5


def test_parsing_the_board_after_f5() -> None:
    board = Boards.parse([AFTER_F5])
    assert not bool(board.black[0])
    assert to_bits(board.mine).tolist() == [1 << parse("d4")]
    assert to_bits(board.theirs).tolist() == [sum(1 << parse(s) for s in ("d5", "e4", "e5", "f5"))]
    assert to_bits(board.legal()).tolist() == [sum(1 << parse(s) for s in ("f4", "d6", "f6"))]


def test_text_and_parse_undo_each_other(games: Games) -> None:
    boards = games[:6].replay()
    texts = [boards.text(row) for row in range(len(boards))]
    read = Boards.parse(texts)
    assert same(read, boards)
    assert torch.equal(read.black, boards.black)
    assert {True, False} == set(boards.black.tolist())
    assert read.at.tolist() == [[row, 0] for row in range(len(texts))]
    assert [read.text(row) for row in range(len(texts))] == texts


def test_no_texts_are_no_boards() -> None:
    assert len(Boards.parse([])) == 0


BAD = {
    "empty": "",
    "no head": "\n".join(AFTER_F5.split("\n")[1:]),
    "a row less": "\n".join(AFTER_F5.split("\n")[:-1]),
    "a row more": AFTER_F5 + "\n9 . . . . . . . .",
    "a sign less": AFTER_F5[:-2],
    "a sign more": AFTER_F5 + " .",
    "another sign": AFTER_F5.replace("*", "?", 1),
    "nobody to move": AFTER_F5.replace("O to move", "to move"),
    "nothing but nobody": "\n".join(["to move", *AFTER_F5.split("\n")[1:]]),
    "somebody else to move": AFTER_F5.replace("O to move", "Q to move"),
    "an empty square to move": AFTER_F5.replace("O to move", ". to move"),
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_a_text_that_is_no_board_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"not a board: write the line .* X O \* \."):
        Boards.parse([AFTER_F5, text])


def test_symmetries_form_the_group_of_the_square() -> None:
    maps = [tuple(transform_squares(number).tolist()) for number in SYMMETRIES]
    assert maps[0] == tuple(range(64))
    assert len(set(maps)) == 8
    for one, other in product(maps, maps):
        assert tuple(other[one[square]] for square in range(64)) in maps
    for one in maps:
        assert any(all(other[one[s]] == s for s in range(64)) for other in maps)


def test_symmetries_keep_neighbours_together() -> None:
    for number in SYMMETRIES:
        target = transform_squares(number)
        for a, b in product(range(64), range(64)):
            before = max(abs(a // 8 - b // 8), abs(a % 8 - b % 8))
            to, at = int(target[a]), int(target[b])
            assert before == max(abs(to // 8 - at // 8), abs(to % 8 - at % 8))


@pytest.mark.parametrize(
    ("symmetry", "goes_to"), [(0, "f5"), (1, "c5"), (2, "f4"), (3, "c4"), (4, "e6")]
)
def test_what_each_bit_of_a_symmetry_does(symmetry: int, goes_to: str) -> None:
    assert int(transform_squares(symmetry)[parse("f5")]) == parse(goes_to)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_transformed_moves_every_square_and_nothing_else(symmetry: int, games: Games) -> None:
    boards = games[:4].replay()
    turned = boards.transformed(symmetry)
    target = torch.from_numpy(transform_squares(symmetry))
    assert torch.equal(turned.squares()[..., target], boards.squares())
    assert torch.equal(unpack(turned.legal())[:, target], unpack(boards.legal()))
    assert torch.equal(turned.at, boards.at)
    assert torch.equal(turned.black, boards.black)


@pytest.mark.parametrize("symmetry", [-1, 8])
def test_there_are_only_eight_symmetries(symmetry: int) -> None:
    with pytest.raises(InputError, match=f"no symmetry {symmetry}: .* 0 to 7"):
        transform_squares(symmetry)


def test_squares_are_mine_theirs_empty(replayed: Replayed) -> None:
    for moves, after in replayed[:12]:
        squares = lone(*moves).replay().squares()
        assert squares.shape == (len(moves), 3, 64)
        for row, right in zip(squares, after, strict=True):
            mine, theirs, empty = (set(part.nonzero().flatten().tolist()) for part in row)
            assert (mine, theirs) == (right.mine, right.theirs)
            assert empty == set(range(64)) - mine - theirs


def test_rows_are_taken_together(games: Games) -> None:
    boards = games[:4].replay()
    for rows in (slice(10, 200, 7), torch.arange(len(boards)) % 3 == 0, torch.tensor([5, 2, 2])):
        part = boards[rows]
        assert len(part) == len(part.mine)
        for column in ("mine", "theirs", "at", "black"):
            assert torch.equal(getattr(part, column), getattr(boards, column)[rows])


def test_bits_and_tensors_are_the_same_memory() -> None:
    bits = np.array([1, 1 << 63, (1 << 64) - 1], dtype=np.uint64)
    tensor = to_tensor(bits)
    assert tensor.tolist() == [1, -(1 << 63), -1]
    assert to_bits(tensor).tolist() == bits.tolist()
    bits[0] = 7
    assert int(tensor[0]) == 7


def test_unpack_and_pack_keep_axes() -> None:
    boards = torch.tensor([[0, 1, -1], [2, -(1 << 63), 5]])
    spelled = unpack(boards)
    assert spelled.shape == (2, 3, 64)
    assert spelled[1, 2].nonzero().flatten().tolist() == [0, 2]
    assert spelled[1, 1].nonzero().flatten().tolist() == [63]
    assert torch.equal(to_tensor(pack(spelled.numpy())), boards)


def test_one_more_move_is_the_next_position(games: Games) -> None:
    """Every position of whole games from the one before, passes included."""
    boards = games.replay()
    goes_on = boards.at[1:, 0] == boards.at[:-1, 0]
    rows = goes_on.nonzero()[:, 0]
    played = games.moves[boards.at[rows + 1, 0].long(), boards.at[rows + 1, 1].long()]
    found = boards[rows].after(played.long())
    assert same(found, boards[rows + 1])
    assert torch.equal(found.black, boards.black[rows + 1])
    assert torch.equal(found.at, boards.at[rows + 1])
    turns = boards.black[rows + 1] == boards.black[rows]
    assert bool(turns.any())  # somebody had to pass


def test_a_move_against_the_rules_is_refused() -> None:
    with pytest.raises(InputError, match="position 0: 0 is not a legal move there"):
        Boards.parse([AFTER_F5]).after(torch.tensor([0]))
