"""Concepts: named yes/no facts about boards, in families.

A family is one function of whole batches of boards, registered by a decorator that says what its
facts are, by what formula, and where they are undefined. The families are in `squares.py` (one fact
a square), `lines.py` (lines of discs) and `wholes.py` (facts of the whole board).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Bool
from torch import Tensor

from ..errors import InputError
from ..othello.boards import Boards
from ..othello.squares import name


@dataclass(frozen=True)
class Concept:
    """One fact: `family` says what, `square` where, `detail` which of several there."""

    family: str
    square: int | None = None
    """None: a fact of the whole board."""
    detail: str = ""

    def __str__(self) -> str:
        where = "" if self.square is None else f"{name(self.square)} "
        return f"{where}{self.family} {self.detail}".rstrip()


Facts: TypeAlias = Callable[[Boards], Bool[Tensor, "position concept"]]


@dataclass(frozen=True)
class Family:
    """Facts of one kind: what they are, and how they are read off boards."""

    name: str
    concepts: tuple[Concept, ...]
    """Those that can be true, in the order of the columns of `facts`."""
    formula: str
    """When a fact is true, in one line. s is the square, M and T are the discs of the side to move
    and of the other, E the empty squares."""
    undefined: str
    """Which facts are left out because they are never or always so; empty where none is."""
    history: bool
    """Read off the last move: all rows of `Games.replay()` are needed, in order."""
    facts: Facts


_FAMILIES: dict[str, Family] = {}


def fact(
    name: str,
    concepts: Sequence[Concept],
    formula: str,
    *,
    undefined: str = "",
    history: bool = False,
) -> Callable[[Facts], Facts]:
    """Make a function of boards a family of concepts.

    Args:
        name: of the family; unique.
        concepts: of this family, one for each column that the function gives.
        formula: when a fact is true, in one line.
        undefined: which facts were left out, and why.
        history: whether the last move matters.
    """

    def register(facts: Facts) -> Facts:
        if name in _FAMILIES:
            raise InputError(f"there is a concept family {name!r} already")
        if any(concept.family != name for concept in concepts):
            raise InputError(f"the concepts of family {name!r} must name it")
        _FAMILIES[name] = Family(name, tuple(concepts), formula, undefined, history, facts)
        return facts

    return register


@dataclass(frozen=True)
class ConceptSet:
    """Concepts and how to see them on boards."""

    concepts: tuple[Concept, ...]

    def __post_init__(self) -> None:
        unknown = sorted({c.family for c in self.concepts} - set(_FAMILIES))
        if unknown:
            raise _no_family(unknown[0])

    def __len__(self) -> int:
        return len(self.concepts)

    def __add__(self, other: "ConceptSet") -> "ConceptSet":
        return ConceptSet(self.concepts + other.concepts)

    @property
    def families(self) -> tuple[str, ...]:
        """The families that occur, in order."""
        return tuple(dict.fromkeys(concept.family for concept in self.concepts))

    def of(self, boards: Boards) -> Bool[Tensor, "position concept"]:
        """Which concepts hold on which boards.

        Raises:
            InputError: a family looks at the last move, and the boards are not whole games in
                order; a concept is none of its family's.
        """
        parts: list[Tensor] = []
        order: list[int] = []
        for kind in self.families:
            mine = [i for i, concept in enumerate(self.concepts) if concept.family == kind]
            facts, columns = _FAMILIES[kind].facts(boards), self._columns(kind, mine)
            parts.append(facts if columns is None else facts[:, columns])
            order += mine
        if not parts:
            return torch.zeros(len(boards), 0, dtype=torch.bool)
        joined = torch.cat(parts, 1)
        in_order = order == list(range(len(order)))
        return joined if in_order else joined[:, torch.tensor(order).argsort()]

    def _columns(self, kind: str, mine: Sequence[int]) -> list[int] | None:
        """Which of a family's columns are wanted; None: all, in order."""
        wanted = tuple(self.concepts[i] for i in mine)
        known = _FAMILIES[kind].concepts
        if wanted == known:
            return None
        place = {concept: column for column, concept in enumerate(known)}
        for concept in wanted:
            if concept not in place:
                raise InputError(f"there is no concept {str(concept)!r} in family {kind!r}")
        return [place[concept] for concept in wanted]


def families() -> tuple[Family, ...]:
    """All families, in the order in which they were made known."""
    return tuple(_FAMILIES.values())


def family(name: str) -> ConceptSet:
    """All concepts of one family that can be true: the centre is never empty, a corner never flips.

    `families()` tells which there are, and docs/concepts.md what they mean.

    Raises:
        InputError: there is no such family.
    """
    if name not in _FAMILIES:
        raise _no_family(name)
    return ConceptSet(_FAMILIES[name].concepts)


def cells() -> ConceptSet:
    """128 facts: each square mine, each square theirs (of the true side to move)."""
    return family("mine") + family("theirs")


def standard() -> ConceptSet:
    """248 facts: each square mine, theirs, empty, and a legal move of the side to move."""
    return cells() + family("empty") + family("legal")


def everything() -> ConceptSet:
    """All concepts of all families."""
    return ConceptSet(tuple(concept for kind in families() for concept in kind.concepts))


def _no_family(name: str) -> InputError:
    return InputError(f"no concept family {name!r}: choose of {', '.join(_FAMILIES)}")
