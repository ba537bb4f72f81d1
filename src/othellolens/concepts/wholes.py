"""Families of the whole board: corners, edges, mobility, phase, parity, passes."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from ..othello import bitboards, truth
from ..othello.boards import Boards, to_bits
from .concepts import Concept, fact

_EDGES = {
    "letter a": 0x0000_0000_0000_00FF,
    "letter h": 0xFF00_0000_0000_0000 - (1 << 64),
    "digit 1": 0x0101_0101_0101_0101,
    "digit 8": 0x8080_8080_8080_8080 - (1 << 64),
}
# By name, as int64: the squares of one letter are eight bits in a row.
_CORNERS = (1 << 0) | (1 << 7) | (1 << 56) | ((1 << 63) - (1 << 64))
_BANDS = ((0, 0), (1, 2), (3, 5), (6, 9), (10, 14), (15, 60))


def _number(squares: Tensor) -> Integer[Tensor, " position"]:
    return torch.from_numpy(bitboards.count(to_bits(squares))).long()


def _named(family: str, *details: str) -> list[Concept]:
    return [Concept(family, None, detail) for detail in details]


def _at_least(discs: Tensor) -> Bool[Tensor, "position 4"]:
    return _number(discs & _CORNERS)[:, None] >= torch.arange(1, 5)


_FOUR = tuple(f"at least {n}" for n in range(1, 5))


@fact("corners mine", _named("corners mine", *_FOUR), "|M and corners| >= n")
def corners_mine(boards: Boards) -> Bool[Tensor, "position concept"]:
    """How many corners the side to move has."""
    return _at_least(boards.mine)


@fact("corners theirs", _named("corners theirs", *_FOUR), "|T and corners| >= n")
def corners_theirs(boards: Boards) -> Bool[Tensor, "position concept"]:
    """How many corners the other side has."""
    return _at_least(boards.theirs)


def _edges(compare: Callable[[Tensor, Tensor], Tensor], boards: Boards) -> Tensor:
    pairs = [(_number(boards.mine & e), _number(boards.theirs & e)) for e in _EDGES.values()]
    return torch.stack([compare(mine, theirs) for mine, theirs in pairs], 1)


@fact("edge mine", _named("edge mine", *_EDGES), "|M and edge| > |T and edge|")
def edge_mine(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Edges on which the side to move has more discs."""
    return _edges(lambda mine, theirs: mine > theirs, boards)


@fact("edge theirs", _named("edge theirs", *_EDGES), "|T and edge| > |M and edge|")
def edge_theirs(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Edges on which the other side has more discs."""
    return _edges(lambda mine, theirs: theirs > mine, boards)


@fact("edge full", _named("edge full", *_EDGES), "no square of the edge in E")
def edge_full(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Edges without an empty square."""
    return _edges(lambda mine, theirs: mine + theirs == 8, boards)


def _band(low: int, high: int) -> str:
    return f"{low}" if low == high else f"{low} and more" if high == 60 else f"{low}-{high}"


_BAND_NAMES = tuple(_band(*band) for band in _BANDS)


def _banded(number: Integer[Tensor, " position"]) -> Bool[Tensor, "position band"]:
    return torch.stack([(number >= low) & (number <= high) for low, high in _BANDS], 1)


@fact(
    "mobility mine",
    _named("mobility mine", *_BAND_NAMES),
    "the number of legal moves of the side to move lies in the band; 0 only where the game is over",
)
def mobility_mine(boards: Boards) -> Bool[Tensor, "position concept"]:
    """How many moves the side to move has."""
    return _banded(_number(boards.legal()))


@fact(
    "mobility theirs",
    _named("mobility theirs", *_BAND_NAMES),
    "the number of moves that the other side would have lies in the band",
)
def mobility_theirs(boards: Boards) -> Bool[Tensor, "position concept"]:
    """How many moves the other side would have if it had to move."""
    return _banded(_number(truth.mobility(boards).theirs))


_PHASES = tuple((low, low + 9) for low in range(0, 60, 10))


@fact(
    "phase",
    _named("phase", *(f"plies {low}-{high}" for low, high in _PHASES)),
    "the number of the last move, from 0, lies in the band",
)
def phase(boards: Boards) -> Bool[Tensor, "position concept"]:
    """How far the game is."""
    ply = boards.at[:, 1]
    return torch.stack([(ply >= low) & (ply <= high) for low, high in _PHASES], 1)


@fact("empties odd", _named("empties odd", ""), "|E| is odd")
def empties_odd(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Whether an odd number of squares is left."""
    return _number(~(boards.mine | boards.theirs))[:, None] % 2 == 1


@fact("ahead", _named("ahead", "mine", "theirs"), "|M| > |T|; |T| > |M|")
def ahead(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Who has more discs."""
    mine, theirs = _number(boards.mine), _number(boards.theirs)
    return torch.stack([mine > theirs, theirs > mine], 1)


@fact(
    "passed",
    _named("passed", ""),
    "the other side could not move after the last move, so its mover moves again",
    history=True,
)
def passed(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Whether a pass was forced just now; not where the game is over."""
    again = truth.turns(boards).black == boards.black
    return (again & (boards.legal() != 0))[:, None]


@fact("over", _named("over", ""), "neither side can move")
def over(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Whether the game is over."""
    return (boards.legal() == 0)[:, None]
