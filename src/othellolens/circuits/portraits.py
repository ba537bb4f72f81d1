"""Portraits of features: the fact that each detects best, and the board on which it is on."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..concepts import Concept, ConceptSet, family, standard
from ..errors import InputError
from ..evaluation.counts import count
from ..evaluation.recording import Recording
from ..evaluation.scores import Match, score
from ..lens import Reads
from ..othello.directions import DIRECTIONS
from ..othello.games import Games
from ..othello.squares import parse

LEAST = 50
"""Positions of each half of the games at which a fact must hold, and at which it must not."""
FAMILIES = ("line", "will flip", "played", "flipped")
"""Families beside the standard ones of which a feature may speak."""


@dataclass(frozen=True)
class Portraits:
    """What the features of one lens speak of."""

    matches: tuple[Match, ...]
    """For each feature the fact that it detects best, by its Matthews correlation; precision,
    recall and F1 are of other games than it was chosen on."""
    boards: Float[Tensor, "feature 64"]
    """How much likelier each square is mine, and less likely theirs, where the feature is on than
    anywhere: P(mine | on) - P(theirs | on) less the same of all positions."""
    density: Float[Tensor, " feature"]
    """Share of positions at which it is on."""

    def label(self, feature: int) -> str:
        """What a feature is called: its fact and how well it detects it, or that it is never on."""
        match = self.matches[feature]
        if float(self.density[feature]) == 0:
            return "never on"
        return f"{match.concept} (F1 {match.f1:.2f})"

    def squares(self, feature: int) -> frozenset[int]:
        """The squares that a feature's fact speaks of; none where it is never on."""
        if float(self.density[feature]) == 0:
            return frozenset()
        return squares_of(self.matches[feature].concept)


def known_facts() -> ConceptSet:
    """The facts that features of circuits are held against."""
    found = standard()
    for name in FAMILIES:
        found = found + family(name)
    return found


def portraits(reads: Reads, games: Games, concepts: ConceptSet | None = None) -> Portraits:
    """Look at a lens's features on held-out games.

    A fact that seldom holds is matched by accident: it must be true and untrue at `LEAST` positions
    of both halves to be chosen.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        games: held out; facts are chosen on the even ones and scored on the odd ones.
        concepts: of which to choose; by default `known_facts()`.

    Raises:
        InputError: too few games.
    """
    if len(games) < 2:
        raise InputError(f"{len(games)} games: facts are chosen on some and scored on others")
    recording = Recording(reads, games)
    counts = count(recording, games, concepts or known_facts())
    often = ((counts.holds >= LEAST) & (counts.positions[:, None] - counts.holds >= LEAST)).all(0)
    if not bool(often.any()):
        raise InputError(
            f"no fact is true and untrue {LEAST} times in either half of {len(games)} games: look"
            " at more games"
        )
    matches = score(counts.where(often), by="mcc").matches()
    signs: Tensor | int = 0
    on: Tensor | int = 0
    anywhere: Tensor | int = 0
    total = 0
    for read in recording.read(games):
        squares = read.boards.squares().float()
        sign, fires = squares[:, 0] - squares[:, 1], (read.features > 0).float()
        signs = signs + fires.T @ sign
        on, anywhere, total = on + fires.sum(0), anywhere + sign.sum(0), total + len(sign)
    on, anywhere = torch.as_tensor(on), torch.as_tensor(anywhere)
    boards = torch.as_tensor(signs) / on.clamp(min=1)[:, None] - anywhere / total
    boards[on == 0] = 0
    return Portraits(tuple(matches), boards, on / total)


def squares_of(concept: Concept) -> frozenset[int]:
    """The squares that a fact speaks of; those of a whole line, ends included."""
    if concept.square is None:
        return frozenset()
    if concept.family == "line":
        towards, length = concept.detail.rsplit(" ", 1)
        (step,) = (d.step for d in DIRECTIONS if d.name == towards)
        return frozenset(concept.square + k * step for k in range(int(length) + 2))
    if concept.family == "will flip":
        return frozenset(_between(concept.square, parse(concept.detail)))
    return frozenset((concept.square,))


def _between(one: int, other: int) -> Sequence[int]:
    """Two squares on a line and those between them."""
    (a, b), (c, d) = divmod(one, 8), divmod(other, 8)
    steps = max(abs(c - a), abs(d - b))
    letters, digits = (c - a) // steps, (d - b) // steps
    return [8 * (a + k * letters) + b + k * digits for k in range(steps + 1)]
