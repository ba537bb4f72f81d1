"""Families of one fact a square: discs, moves, and what surrounds them."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..othello import shapes, truth
from ..othello.boards import Boards, to_bits, to_tensor, unpack
from ..othello.directions import neighbours
from ..othello.squares import PLAYABLE, SQUARES
from .concepts import Concept, fact

Bitboards: TypeAlias = Callable[[Boards], Int64[Tensor, " position"]]

_CORNERS = (0, 7, 56, 63)
_NOT_CORNERS = tuple(square for square in SQUARES if square not in _CORNERS)
_NO_CENTRE = "d4, d5, e4 and e5 are never empty"


def by_square(
    name: str,
    formula: str,
    *,
    where: Sequence[int] = SQUARES,
    undefined: str = "",
    history: bool = False,
) -> Callable[[Bitboards], Bitboards]:
    """Make a function that gives bitboards a family of one fact a square."""

    def register(bitboards: Bitboards) -> Bitboards:
        columns = list(where)

        def facts(boards: Boards) -> Bool[Tensor, "position concept"]:
            return unpack(bitboards(boards))[:, columns]

        concepts = [Concept(name, square) for square in where]
        fact(name, concepts, formula, undefined=undefined, history=history)(facts)
        return bitboards

    return register


@by_square("mine", "s in M: a disc of the side to move")
def mine(boards: Boards) -> Tensor:
    """Discs of the side to move, by the rules."""
    return boards.mine


@by_square("theirs", "s in T: a disc of the other side")
def theirs(boards: Boards) -> Tensor:
    """Discs of the other side."""
    return boards.theirs


@by_square("empty", "s in E", where=PLAYABLE, undefined=_NO_CENTRE)
def empty(boards: Boards) -> Tensor:
    """Squares without a disc."""
    return ~(boards.mine | boards.theirs)


@by_square("legal", "s is a legal move of the side to move", where=PLAYABLE, undefined=_NO_CENTRE)
def legal(boards: Boards) -> Tensor:
    """Legal moves; none only where the game is over."""
    return boards.legal()


@by_square("black", "s holds a disc of Black")
def black(boards: Boards) -> Tensor:
    """Black's discs."""
    return torch.where(boards.black, boards.mine, boards.theirs)


@by_square("white", "s holds a disc of White")
def white(boards: Boards) -> Tensor:
    """White's discs."""
    return torch.where(boards.black, boards.theirs, boards.mine)


def _black_by_parity(boards: Boards) -> Bool[Tensor, " position"]:
    """Who would move if nobody ever passed: Black after an even number of moves."""
    return boards.at[:, 1] % 2 == 1


@by_square(
    "mine by parity", "s in M if nobody ever passed: the published convention, wrong after a pass"
)
def mine_by_parity(boards: Boards) -> Tensor:
    """Discs of the side whose turn it is by the number of moves alone."""
    return torch.where(_black_by_parity(boards), black(boards), white(boards))


@by_square(
    "theirs by parity", "s in T if nobody ever passed: the published convention, wrong after a pass"
)
def theirs_by_parity(boards: Boards) -> Tensor:
    """Discs of the other side by the number of moves alone."""
    return torch.where(_black_by_parity(boards), white(boards), black(boards))


@by_square(
    "legal theirs", "s would be legal for the other side", where=PLAYABLE, undefined=_NO_CENTRE
)
def legal_theirs(boards: Boards) -> Tensor:
    """What would be the other side's legal moves if it had to move."""
    return truth.mobility(boards).theirs


@by_square("played", "the last move was s", where=PLAYABLE, undefined=_NO_CENTRE, history=True)
def played(boards: Boards) -> Tensor:
    """The square of the last move."""
    return torch.ones(len(boards), dtype=torch.int64) << truth.turns(boards).square.long()


@by_square(
    "flipped",
    "the last move turned the disc on s over",
    where=_NOT_CORNERS,
    undefined="a disc in a corner is never turned over",
    history=True,
)
def flipped(boards: Boards) -> Tensor:
    """What the last move turned over."""
    return truth.turns(boards).flips


@by_square("frontier mine", "s in M, and one of its 8 neighbours in E")
def frontier_mine(boards: Boards) -> Tensor:
    """My discs beside an empty square."""
    return shapes.frontier(boards).mine


@by_square("frontier theirs", "s in T, and one of its 8 neighbours in E")
def frontier_theirs(boards: Boards) -> Tensor:
    """Their discs beside an empty square."""
    return shapes.frontier(boards).theirs


@by_square("stable mine", "s in M and can never be turned over, as far as `shapes.stable` sees")
def stable_mine(boards: Boards) -> Tensor:
    """My discs that are safe for good."""
    return shapes.stable(boards).mine


@by_square("stable theirs", "s in T and can never be turned over, as far as `shapes.stable` sees")
def stable_theirs(boards: Boards) -> Tensor:
    """Their discs that are safe for good."""
    return shapes.stable(boards).theirs


@by_square(
    "perimeter",
    "s in E, and one of its 8 neighbours holds a disc",
    where=PLAYABLE,
    undefined=_NO_CENTRE,
)
def perimeter(boards: Boards) -> Tensor:
    """Empty squares beside any disc."""
    return _beside(boards, boards.mine | boards.theirs)


@by_square(
    "beside mine", "s in E, and one of its 8 neighbours in M", where=PLAYABLE, undefined=_NO_CENTRE
)
def beside_mine(boards: Boards) -> Tensor:
    """Empty squares beside a disc of mine: where the other side may come to move."""
    return _beside(boards, boards.mine)


@by_square(
    "beside theirs",
    "s in E, and one of its 8 neighbours in T",
    where=PLAYABLE,
    undefined=_NO_CENTRE,
)
def beside_theirs(boards: Boards) -> Tensor:
    """Empty squares beside a disc of theirs: where I may come to move."""
    return _beside(boards, boards.theirs)


def _beside(boards: Boards, discs: Int64[Tensor, " position"]) -> Tensor:
    near = to_tensor(neighbours(to_bits(discs)))
    return near & ~(boards.mine | boards.theirs)


_ODD = [Concept("odd region", square) for square in PLAYABLE]


@fact(
    "odd region",
    _ODD,
    "s in E, and the region of E that holds it (8 neighbours) has an odd number of squares",
    undefined=_NO_CENTRE,
)
def odd_region(boards: Boards) -> Bool[Tensor, "position concept"]:
    """Empty squares of odd regions: who begins there may end there."""
    return shapes.regions(boards).odd()[:, list(PLAYABLE)]
