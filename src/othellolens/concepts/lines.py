"""Families of lines: what a move would flank, in which direction, and how many discs."""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..othello.bitboards import Bits
from ..othello.boards import Boards, to_bits, to_tensor, unpack
from ..othello.directions import DIRECTIONS, moved
from ..othello.squares import PLAYABLE, SQUARES, name
from .concepts import Concept, fact
from .squares import by_square

_MOST = 6
# Discs that one move can flank in one direction.
_CORNERS = (0, 7, 56, 63)


def _room(square: int, direction: int) -> int:
    """How many squares lie beyond a square in a direction."""
    step, found = DIRECTIONS[direction], 0
    letter, digit = divmod(square, 8)
    while 0 <= letter + step.letters < 8 and 0 <= digit + step.digits < 8:
        letter, digit, found = letter + step.letters, digit + step.digits, found + 1
    return found


def _from(direction: int, length: int) -> list[int]:
    """The squares from which a move can flank so many discs in a direction."""
    return [square for square in PLAYABLE if _room(square, direction) > length]


def _patterns() -> Iterator[tuple[int, int, list[int]]]:
    """(direction, length, squares), in the order of all families of lines."""
    for direction in range(len(DIRECTIONS)):
        for length in range(1, _MOST + 1):
            yield direction, length, _from(direction, length)


_LINES = [
    Concept("line", square, f"{DIRECTIONS[direction].name} {length}")
    for direction, length, squares in _patterns()
    for square in squares
]
_PAIRS = [
    Concept("will flip", square, name(square + length * DIRECTIONS[direction].step))
    for direction, length, squares in _patterns()
    for square in squares
]
_DIRECTED = [
    Concept("legal by direction", square, direction.name)
    for number, direction in enumerate(DIRECTIONS)
    for square in _from(number, 1)
]
_NO_ROOM = "squares without room for the line, and d4, d5, e4, e5, which are never empty"


@fact(
    "line",
    _LINES,
    "s in E, then in the direction exactly n squares in T, then one in M",
    undefined=_NO_ROOM,
)
def line(boards: Boards) -> Bool[Tensor, "position concept"]:
    """The 960 flanking patterns (square, direction, length)."""
    found = _flanking(boards)
    return torch.cat(
        [unpack(found[direction][length - 1])[:, at] for direction, length, at in _patterns()], 1
    )


@fact(
    "will flip",
    _PAIRS,
    "were the move s played, the disc on the second square would be turned over",
    undefined=_NO_ROOM,
)
def will_flip(boards: Boards) -> Bool[Tensor, "position concept"]:
    """The 960 pairs of a move and a disc: some line from s in that direction is long enough."""
    found = _flanking(boards)
    columns: list[Tensor] = []
    for direction, length, at in _patterns():
        columns.append(unpack(_any(found[direction][length - 1 :]))[:, at])
    return torch.cat(columns, 1)


@fact(
    "legal by direction",
    _DIRECTED,
    "s in E, then in the direction one or more squares in T, then one in M",
    undefined=_NO_ROOM,
)
def legal_by_direction(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Moves that flank in a direction."""
    found = _flanking(boards)
    return torch.cat(
        [unpack(_any(found[number]))[:, _from(number, 1)] for number in range(len(DIRECTIONS))], 1
    )


@by_square(
    "flippable",
    "some legal move of the side to move would turn the disc on s over",
    where=[square for square in SQUARES if square not in _CORNERS],
    undefined="a disc in a corner is never turned over",
)
def flippable(boards: Boards) -> Tensor:
    """Discs of theirs that lie in a line from an empty square to a disc of mine."""
    mine, theirs = to_bits(boards.mine), to_bits(boards.theirs)
    empty, out = ~(mine | theirs), mine & ~mine
    for number in range(len(DIRECTIONS)):
        out |= _through(empty, theirs, number) & _through(mine, theirs, (number + 4) % 8)
    return to_tensor(out)


def _through(seeds: Bits, over: Bits, direction: int) -> Bits:
    """Squares of `over` that are reached from a seed through others of them."""
    run = over & moved(seeds, DIRECTIONS[direction])
    for _ in range(_MOST - 1):
        run |= over & moved(run, DIRECTIONS[direction])
    return run


def _flanking(boards: Boards) -> list[list[Int64[Tensor, " position"]]]:
    """By direction and length less one: the empty squares from which exactly so many are flanked.

    From a disc of mine back against the direction over n discs of theirs to an empty square.
    """
    mine, theirs = to_bits(boards.mine), to_bits(boards.theirs)
    empty = ~(mine | theirs)
    found: list[list[Tensor]] = []
    for number in range(len(DIRECTIONS)):
        back, run, lengths = DIRECTIONS[(number + 4) % 8], mine, list[Tensor]()
        for _ in range(_MOST):
            run = theirs & moved(run, back)
            lengths.append(to_tensor(empty & moved(run, back)))
        found.append(lengths)
    return found


def _any(bitboards: list[Int64[Tensor, " position"]]) -> Int64[Tensor, " position"]:
    out = bitboards[0]
    for other in bitboards[1:]:
        out = out | other
    return out
