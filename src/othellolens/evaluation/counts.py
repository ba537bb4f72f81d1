"""Counts: how often features and concepts hold together, per threshold.

Every score of the judge is a pure function of these numbers. They are additive, so shards and
machines merge by `+`. Even-numbered games are counted apart from odd ones: whatever is chosen is
chosen on the even half and scored on the odd one.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..lens import Lens, Read
from ..othello.games import Games

CHOOSE, SCORE = 0, 1
"""The halves: games of even number, games of odd number."""
THRESHOLDS = tuple(step / 10 for step in range(10))
"""A feature is on where it exceeds this share of its peak (Karvonen et al. 2024, section 4)."""


@dataclass(frozen=True)
class Counts:
    """Numbers of positions, by half of the games."""

    concepts: ConceptSet
    thresholds: tuple[float, ...]
    peak: Float[Tensor, " feature"]
    """The activation that counts as 1 when thresholds are applied."""
    positions: Int64[Tensor, " half"]
    fires: Int64[Tensor, "half threshold feature"]
    """Positions at which the feature exceeds threshold * peak."""
    holds: Int64[Tensor, "half concept"]
    """Positions at which the concept holds."""
    both: Int64[Tensor, "half threshold feature concept"]
    """Positions at which both are so."""

    def __add__(self, other: "Counts") -> "Counts":
        """Counts over the positions of both.

        Raises:
            InputError: they do not count the same features, thresholds and concepts.
        """
        same = self.concepts == other.concepts and self.thresholds == other.thresholds
        if not same or not torch.equal(self.peak, other.peak):
            raise InputError(
                "counts add up only over the same concepts, thresholds and peaks:"
                " pass the peaks of the first to count(..., peak=...)"
            )
        return Counts(
            self.concepts,
            self.thresholds,
            self.peak,
            self.positions + other.positions,
            self.fires + other.fires,
            self.holds + other.holds,
            self.both + other.both,
        )

    def only(self, *families: str) -> "Counts":
        """The counts of some families of concepts alone."""
        chosen = torch.tensor([c.family in families for c in self.concepts.concepts])
        kept = tuple(c for c in self.concepts.concepts if c.family in families)
        return replace(
            self,
            concepts=ConceptSet(kept),
            holds=self.holds[:, chosen],
            both=self.both[..., chosen],
        )


def peaks(lens: Lens, games: Games, *, most: int = 500) -> Float[Tensor, " feature"]:
    """The largest activation of each feature on the first `most` games of the choosing half."""
    seen: Tensor | None = None
    for read in lens.read(games[: 2 * most]):
        chosen = read.features[read.boards.at[:, 0] % 2 == CHOOSE]
        if len(chosen):
            top = chosen.amax(0)
            seen = top if seen is None else torch.maximum(seen, top)
    if seen is None:
        raise InputError("there are no games to judge on")
    return seen


def count(
    lens: Lens,
    games: Games,
    concepts: ConceptSet,
    *,
    thresholds: tuple[float, ...] = THRESHOLDS,
    peak: Float[Tensor, " feature"] | None = None,
) -> Counts:
    """Count how often each feature is on and each concept holds, together and apart.

    Memory: 8 bytes x 2 halves x thresholds x features x concepts, and one batch of features.

    Args:
        lens: model, site and encoder.
        games: held-out games.
        concepts: what to look for.
        thresholds: shares of a feature's peak, from 0 to below 1.
        peak: what counts as a feature's 1; by default `peaks(lens, games)`.
    """
    peak = peaks(lens, games) if peak is None else peak
    counts = _zeros(concepts, thresholds, peak)
    for read in lens.read(games):
        _add(counts, read, concepts.of(read.boards))
    return counts


def _zeros(concepts: ConceptSet, thresholds: tuple[float, ...], peak: Tensor) -> Counts:
    features, levels, facts = len(peak), len(thresholds), len(concepts)
    return Counts(
        concepts,
        thresholds,
        peak,
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2, levels, features, dtype=torch.int64),
        torch.zeros(2, facts, dtype=torch.int64),
        torch.zeros(2, levels, features, facts, dtype=torch.int64),
    )


def _add(counts: Counts, read: Read, facts: Bool[Tensor, "position concept"]) -> None:
    for half in (CHOOSE, SCORE):
        rows = read.boards.at[:, 0] % 2 == half
        features, holds = read.features[rows], facts[rows].float()
        counts.positions[half] += len(features)
        counts.holds[half] += facts[rows].sum(0)
        for level, threshold in enumerate(counts.thresholds):
            on = fired(features, counts.peak, threshold)
            counts.fires[half, level] += on.sum(0)
            # Products of 0 and 1 in float32: exact up to 2^24 positions a batch.
            counts.both[half, level] += (on.float().T @ holds).long()


def fired(
    features: Float[Tensor, "position feature"], peak: Float[Tensor, " feature"], threshold: float
) -> Bool[Tensor, "position feature"]:
    """Whether a feature exceeds `threshold` times its peak."""
    return features > threshold * peak
