"""Concepts: named yes/no facts about boards, in families of one fact a square."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from ..errors import InputError
from ..othello import shapes, truth
from ..othello.boards import Boards, unpack
from ..othello.squares import PLAYABLE, SQUARES, name


@dataclass(frozen=True)
class Concept:
    """One fact: `family` says what, `square` where."""

    family: str
    square: int

    def __str__(self) -> str:
        return f"{name(self.square)} {self.family}"


@dataclass(frozen=True)
class ConceptSet:
    """Concepts and how to see them on boards."""

    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        unknown = sorted({c.family for c in self.concepts} - set(_FAMILIES))
        if unknown:
            raise InputError(f"no concept family {unknown[0]!r}: choose of {', '.join(_FAMILIES)}")

    def __len__(self) -> int:
        return len(self.concepts)

    def __add__(self, other: "ConceptSet") -> "ConceptSet":
        return ConceptSet(self.concepts + other.concepts)

    @property
    def families(self) -> tuple[str, ...]:
        """The families that occur, in order."""
        return tuple(dict.fromkeys(concept.family for concept in self.concepts))

    def of(self, boards: Boards) -> Bool[Tensor, "position concept"]:
        """Which concepts hold on which boards."""
        facts = {family: _FAMILIES[family](boards) for family in self.families}
        columns = [facts[concept.family][:, concept.square] for concept in self.concepts]
        return torch.stack(columns, dim=1)


def family(name: str) -> ConceptSet:
    """All concepts of one family that can be true: the centre is never empty, a corner never flips.

    In `standard()`: "mine", "theirs", "empty", "legal" (a legal move of the side to move).

    Of the last move, so that all rows of `Games.replay()` are needed, in order: "played" (the move
    was there), "flipped" (it turned the disc over).

    Besides: "legal theirs" (would be legal for the other side), "frontier mine", "frontier theirs",
    "stable mine", "stable theirs" (see `othello.shapes`).

    Raises:
        InputError: there is no such family.
    """
    return ConceptSet(tuple(Concept(name, square) for square in _WHERE.get(name, SQUARES)))


def cells() -> ConceptSet:
    """128 facts: each square mine, each square theirs (of the true side to move)."""
    return family("mine") + family("theirs")


def standard() -> ConceptSet:
    """248 facts: each square mine, theirs, empty, and a legal move of the side to move."""
    return cells() + family("empty") + family("legal")


def _empty(boards: Boards) -> Bool[Tensor, "position 64"]:
    return ~unpack(boards.mine | boards.theirs)


def _played(boards: Boards) -> Bool[Tensor, "position 64"]:
    return F.one_hot(truth.turns(boards).square.long(), 64).bool()


_FAMILIES: dict[str, Callable[[Boards], Bool[Tensor, "position 64"]]] = {
    "mine": lambda boards: unpack(boards.mine),
    "theirs": lambda boards: unpack(boards.theirs),
    "empty": _empty,
    "legal": lambda boards: unpack(boards.legal()),
    "played": _played,
    "flipped": lambda boards: unpack(truth.turns(boards).flips),
    "legal theirs": lambda boards: unpack(truth.mobility(boards).theirs),
    "frontier mine": lambda boards: unpack(shapes.frontier(boards).mine),
    "frontier theirs": lambda boards: unpack(shapes.frontier(boards).theirs),
    "stable mine": lambda boards: unpack(shapes.stable(boards).mine),
    "stable theirs": lambda boards: unpack(shapes.stable(boards).theirs),
}
_WHERE: dict[str, Sequence[int]] = {
    **dict.fromkeys(("empty", "legal", "legal theirs", "played"), PLAYABLE),
    "flipped": [square for square in SQUARES if square not in (0, 7, 56, 63)],
}
