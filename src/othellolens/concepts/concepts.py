"""Concepts: named yes/no facts about boards, in families of one fact a square."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from ..errors import InputError
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
    """All concepts of one family that can be true: the centre is never empty and never legal."""
    where = PLAYABLE if name in ("empty", "legal") else SQUARES
    return ConceptSet(tuple(Concept(name, square) for square in where))


def cells() -> ConceptSet:
    """128 facts: each square mine, each square theirs (of the true side to move)."""
    return family("mine") + family("theirs")


def standard() -> ConceptSet:
    """248 facts: each square mine, theirs, empty, and a legal move of the side to move."""
    return cells() + family("empty") + family("legal")


def _empty(boards: Boards) -> Bool[Tensor, "position 64"]:
    return ~unpack(boards.mine | boards.theirs)


_FAMILIES: dict[str, Callable[[Boards], Bool[Tensor, "position 64"]]] = {
    "mine": lambda boards: unpack(boards.mine),
    "theirs": lambda boards: unpack(boards.theirs),
    "empty": _empty,
    "legal": lambda boards: unpack(boards.legal()),
}
