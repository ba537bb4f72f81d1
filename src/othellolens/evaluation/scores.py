"""Scores: precision, recall and F1 of features as detectors of concepts, from counts alone."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..concepts import Concept
from ..errors import InputError
from .counts import CHOOSE, SCORE, Counts


class Match(NamedTuple):
    """A feature at a threshold as a detector of a concept, scored on the scoring half."""

    feature: int
    threshold: float
    concept: Concept
    precision: float
    recall: float
    f1: float


def precision(counts: Counts, half: int) -> Float[Tensor, "threshold feature concept"]:
    """Share of the feature's positions at which the concept holds; 0 where it never fires."""
    return counts.both[half] / counts.fires[half].clamp(min=1)[..., None]


def recall(counts: Counts, half: int) -> Float[Tensor, "threshold feature concept"]:
    """Share of the concept's positions at which the feature is on; 0 where it never holds."""
    return counts.both[half] / counts.holds[half].clamp(min=1)


def f1(counts: Counts, half: int) -> Float[Tensor, "threshold feature concept"]:
    """2 TP / (fires + holds); 0 where both are 0."""
    total = counts.fires[half][..., None] + counts.holds[half]
    return 2 * counts.both[half] / total.clamp(min=1)


@dataclass(frozen=True)
class Scores:
    """What was chosen on one half of the games, and how it did on the other."""

    counts: Counts
    exists: Bool[Tensor, " concept"]
    """Concepts that occur in both halves; only they are averaged over."""
    best: Int64[Tensor, "concept 2"]
    """(threshold index, feature) of each concept's best detector on the choosing half."""
    best_f1: Float[Tensor, " concept"]
    """Its F1 on the scoring half."""
    single_f1: Float[Tensor, " concept"]
    """The same with one threshold for all concepts, as the published code does it."""
    single_threshold: float
    """That threshold: the best mean F1 on the choosing half."""
    match: Int64[Tensor, "feature 2"]
    """(threshold index, concept) that each feature detects best on the choosing half."""

    def coverage(self, *families: str, single_threshold: bool = False) -> float:
        """Mean over concepts of the F1 of the best single feature (Karvonen et al. 2024, eq. 3).

        Feature and threshold are chosen on one half of the games and scored on the other; the mean
        is over the concepts that exist, so 1 can be reached.

        Args:
            families: which concepts, e.g. "legal"; by default "mine" and "theirs", the published
                board-state coverage without blanks.
            single_threshold: one threshold for all concepts, as the published code takes it.
        """
        wanted = families or ("mine", "theirs")
        chosen = [concept.family in wanted for concept in self.counts.concepts.concepts]
        where = torch.tensor(chosen) & self.exists
        if not bool(where.any()):
            raise InputError(
                f"no concept of {', '.join(wanted)} was counted: choose of"
                f" {', '.join(self.counts.concepts.families)}"
            )
        return float((self.single_f1 if single_threshold else self.best_f1)[where].mean())

    def matches(self) -> list[Match]:
        """For every feature the concept that it detects best."""
        return [
            self._match(feature, level, concept)
            for feature, (level, concept) in enumerate(self.match.tolist())
        ]

    def detectors(self) -> list[Match]:
        """For every concept the feature that detects it best."""
        return [
            self._match(feature, level, concept)
            for concept, (level, feature) in enumerate(self.best.tolist())
        ]

    def _match(self, feature: int, level: int, concept: int) -> Match:
        counts = self.counts
        hits = int(counts.both[SCORE, level, feature, concept])
        fires = int(counts.fires[SCORE, level, feature])
        holds = int(counts.holds[SCORE, concept])
        return Match(
            feature,
            counts.thresholds[level],
            counts.concepts.concepts[concept],
            hits / max(1, fires),
            hits / max(1, holds),
            2 * hits / max(1, fires + holds),
        )


def score(counts: Counts) -> Scores:
    """Choose detectors on the choosing half and score them on the scoring half."""
    chosen, scored = f1(counts, CHOOSE), f1(counts, SCORE)
    exists = (counts.holds > 0).all(0)
    _, features, concepts = chosen.shape
    flat = chosen.flatten(0, 1).argmax(0)
    best = torch.stack([flat // features, flat % features], 1)
    by_level = chosen.amax(1)[:, exists].mean(1)
    level = int(by_level.argmax()) if bool(exists.any()) else 0
    every = torch.arange(concepts)
    by_feature = chosen.transpose(0, 1).flatten(1).argmax(1)
    return Scores(
        counts,
        exists,
        best,
        scored[best[:, 0], best[:, 1], every],
        scored[level, chosen[level].argmax(0), every],
        counts.thresholds[level],
        torch.stack([by_feature // concepts, by_feature % concepts], 1),
    )
