"""Scores: features as detectors of concepts, from counts alone.

Whatever is chosen - the feature, its threshold - is chosen on the even games; what is reported is
of the odd ones.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..concepts import Concept
from ..errors import InputError
from .counts import CHOOSE, SCORE, Counts
from .measures import MEASURES, Measure, Table

Thresholds: TypeAlias = Literal["concept", "feature", "global"]
"""How many thresholds there are: one for each pair of feature and concept, one for each feature,
or a single one for all, as the published code takes it."""


class Match(NamedTuple):
    """A feature at a threshold as a detector of a concept, scored on the scoring half."""

    feature: int
    threshold: float
    concept: Concept
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Detectors:
    """For each concept a feature and a threshold, and how the two did on the scoring half."""

    level: Int64[Tensor, " concept"]
    """Which of the thresholds."""
    feature: Int64[Tensor, " concept"]
    both: Int64[Tensor, " concept"]
    """Positions at which the feature is on and the concept holds."""
    fires: Int64[Tensor, " concept"]
    holds: Int64[Tensor, " concept"]
    positions: int

    def measure(self, name: str = "f1") -> Float[Tensor, " concept"]:
        """Each detector by "precision", "recall", "f1", "lift" or "mcc" (see `measures`).

        Raises:
            InputError: there is no such measure.
        """
        positions = torch.tensor(self.positions)
        return measure_of(name)(Table(self.both, self.fires, self.holds, positions))


@dataclass(frozen=True)
class Scores:
    """What was chosen on one half of the games, and how it did on the other."""

    counts: Counts
    exists: Bool[Tensor, " concept"]
    """Concepts that are true somewhere and false somewhere in both halves; only they are averaged
    over."""
    per_concept: Detectors
    """The best feature at its best threshold."""
    per_feature: Detectors
    """The same where every feature has one threshold: that of its own best match."""
    single: Detectors
    """The same with one threshold for all: the one with the best mean."""
    match: Int64[Tensor, "feature 2"]
    """(threshold index, concept) that each feature detects best on the choosing half."""

    @property
    def single_threshold(self) -> float:
        """The one threshold of `single`."""
        return self.counts.thresholds[int(self.single.level[0])]

    def detector(self, thresholds: Thresholds = "concept") -> Detectors:
        """The detectors with so many thresholds."""
        kinds = {"concept": self.per_concept, "feature": self.per_feature, "global": self.single}
        if thresholds not in kinds:
            raise InputError(f"thresholds are per {', '.join(kinds)}: not {thresholds!r}")
        return kinds[thresholds]

    def coverage(
        self, *families: str, thresholds: Thresholds = "concept", measure: str = "f1"
    ) -> float:
        """Mean over concepts of the F1 of the best single feature (Karvonen et al. 2024, eq. 3).

        Feature and threshold are chosen on one half of the games and scored on the other; the mean
        is over the concepts that exist, so 1 can be reached.

        Args:
            families: which concepts, e.g. "legal"; by default "mine" and "theirs", the published
                board-state coverage without blanks.
            thresholds: how many of them: per "concept", per "feature", or one "global" one, as the
                published code takes it.
            measure: "f1", "lift", "mcc", "precision" or "recall".
        """
        values = self.detector(thresholds).measure(measure)
        return float(values[self.where(*families)].mean())

    def where(self, *families: str) -> Bool[Tensor, " concept"]:
        """The concepts of some families ("mine" and "theirs" by default) that exist."""
        wanted = families or ("mine", "theirs")
        chosen = torch.tensor([c.family in wanted for c in self.counts.concepts.concepts])
        where = chosen & self.exists
        if not bool(chosen.any()):
            raise InputError(
                f"no concept of {', '.join(wanted)} was counted: choose of"
                f" {', '.join(self.counts.concepts.families)}"
            )
        if not bool(where.any()):
            raise InputError(
                f"no fact of {', '.join(wanted)} is true somewhere and false somewhere in the even"
                " and in the odd games: take more games"
            )
        return where

    def matches(self) -> list[Match]:
        """For every feature the concept that it detects best."""
        levels, concepts = self.match.unbind(1)
        return self._matches(levels, torch.arange(len(levels)), concepts)

    def detectors(self, thresholds: Thresholds = "concept") -> list[Match]:
        """For every concept the feature that detects it best."""
        found = self.detector(thresholds)
        return self._matches(found.level, found.feature, torch.arange(len(found.level)))

    def _matches(self, levels: Tensor, features: Tensor, concepts: Tensor) -> list[Match]:
        found = _detectors(self.counts, levels, features, concepts)
        measured = [found.measure(name).tolist() for name in ("precision", "recall", "f1")]
        names = self.counts.concepts.concepts
        rows = zip(*(x.tolist() for x in (features, levels, concepts)), *measured, strict=True)
        return [
            Match(feature, self.counts.thresholds[level], names[concept], *numbers)
            for feature, level, concept, *numbers in rows
        ]


def measure_of(name: str) -> Measure:
    """The measure of a name.

    Raises:
        InputError: there is none.
    """
    if name not in MEASURES:
        raise InputError(f"no measure {name!r}: choose of {', '.join(MEASURES)}")
    return MEASURES[name]


def measured(
    counts: Counts, half: int, level: int, name: str = "f1"
) -> Float[Tensor, "feature concept"]:
    """Every feature at one threshold as a detector of every concept."""
    fires, positions = counts.fires[half, level][:, None], counts.positions[half]
    table = Table(counts.both[half, level], fires, counts.holds[half], positions)
    return measure_of(name)(table)


def score(counts: Counts, *, by: str = "f1") -> Scores:
    """Choose detectors on the choosing half and score them on the scoring half.

    Memory: some copies of [feature, concept] floats; one threshold at a time.

    Args:
        counts: of a lens on held-out games.
        by: what the choice maximises: "f1", "lift" or "mcc".

    Raises:
        InputError: there is nothing to score.
    """
    features, concepts = counts.both.shape[2:]
    if not features or not concepts:
        raise InputError("there are no features or no concepts to score")
    exists = existing(counts)
    concept, match = _Best(concepts), _Best(features)
    means = []
    for level in range(len(counts.thresholds)):
        values = measured(counts, CHOOSE, level, by)
        top = values.max(0)
        concept.see(level, top.values, top.indices)
        means.append(float(top.values[exists].mean()) if bool(exists.any()) else 0.0)
        own = values.max(1)
        match.see(level, own.values, own.indices)
    single = means.index(max(means))
    every = torch.arange(concepts)
    return Scores(
        counts,
        exists,
        _detectors(counts, concept.level, concept.index, every),
        _detectors(counts, *_per_feature(counts, match.level, by), every),
        _detectors(counts, *_at_level(counts, single, by), every),
        torch.stack([match.level, match.index], 1),
    )


def existing(counts: Counts) -> Bool[Tensor, " concept"]:
    """Concepts that are true somewhere and false somewhere in both halves."""
    return ((counts.holds > 0) & (counts.holds < counts.positions[:, None])).all(0)


class _Best:
    """The largest of what was seen, the earlier and lower one where two are equal."""

    def __init__(self, size: int) -> None:
        self.value = torch.full((size,), float("-inf"))
        self.level = torch.zeros(size, dtype=torch.int64)
        self.index = torch.zeros(size, dtype=torch.int64)

    def see(self, level: int, value: Tensor, index: Tensor) -> None:
        better = value > self.value
        self.value = torch.where(better, value, self.value)
        self.level = torch.where(better, torch.tensor(level), self.level)
        self.index = torch.where(better, index, self.index)


def _per_feature(counts: Counts, levels: Tensor, by: str) -> tuple[Tensor, Tensor]:
    every = torch.arange(len(levels))
    both, fires = counts.both[CHOOSE, levels, every], counts.fires[CHOOSE, levels, every]
    table = Table(both, fires[:, None], counts.holds[CHOOSE], counts.positions[CHOOSE])
    feature = measure_of(by)(table).argmax(0)
    return levels[feature], feature


def _at_level(counts: Counts, level: int, by: str) -> tuple[Tensor, Tensor]:
    feature = measured(counts, CHOOSE, level, by).argmax(0)
    return torch.full_like(feature, level), feature


def _detectors(counts: Counts, level: Tensor, feature: Tensor, concept: Tensor) -> Detectors:
    return Detectors(
        level,
        feature,
        counts.both[SCORE, level, feature, concept].long(),
        counts.fires[SCORE, level, feature],
        counts.holds[SCORE, concept],
        int(counts.positions[SCORE]),
    )
