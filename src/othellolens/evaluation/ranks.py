"""Scores that need no threshold: AUROC and average precision of every feature for every concept.

AUROC is the chance that the feature is higher at a position where the concept holds than at one
where it does not, ties half. Average precision is the mean, over the positions where the concept
holds, of the precision among all positions at which the feature is at least as high. Both are
exact; a feature that is not above 0 counts as 0, off, and all such positions tie.

They need all positions at once, so unlike counts they do not add up over shards.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..lens import Reads
from ..othello.games import Games
from ..othello.workers import shared_out
from .counts import CHOOSE, SCORE

HUBEN = 0.9
"""A concept counts as found where a feature's AUROC exceeds this (Huben 2024)."""


@dataclass(frozen=True)
class Ranks:
    """Threshold-free scores, by half of the games; NaN where a concept always or never holds."""

    concepts: ConceptSet
    auroc: Float[Tensor, "half feature concept"]
    ap: Float[Tensor, "half feature concept"]
    base: Float[Tensor, "half concept"]
    """Share of the positions at which the concept holds: the average precision of chance."""

    def exists(self, *families: str) -> Bool[Tensor, " concept"]:
        """Concepts of these families (of all, by default) that are true and false in each half."""
        names = [not families or c.family in families for c in self.concepts.concepts]
        return torch.tensor(names) & ((self.base > 0) & (self.base < 1)).all(0)

    def best(self, name: str = "auroc") -> Float[Tensor, " concept"]:
        """Of the feature that is best on the choosing half, the score on the scoring half.

        Args:
            name: "auroc" or "ap".
        """
        if name not in ("auroc", "ap"):
            raise InputError(f"no score {name!r}: choose of auroc, ap")
        values: Tensor = getattr(self, name)
        feature = values[CHOOSE].nan_to_num(-1).argmax(0)
        return values[SCORE].gather(0, feature[None])[0]

    def above(self, *families: str, bar: float = HUBEN) -> tuple[int, int]:
        """How many concepts have a feature with an AUROC above the bar, and of how many."""
        where = self.exists(*families)
        return int((self.best()[where] > bar).sum()), int(where.sum())


def rank(reads: Reads, games: Games, concepts: ConceptSet) -> Ranks:
    """Measure every feature against every concept without a threshold.

    Memory: 8 bytes an active feature of a position, 4 a concept that holds at one, and 16 a pair of
    feature and concept.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        games: held-out games; even ones choose, odd ones are scored.
        concepts: what to look for.
    """
    halves = [_Half(), _Half()]
    features = 0
    for read in reads.read(games):
        facts, half = read.facts(concepts), read.boards.at[:, 0] % 2
        features = read.features.shape[1]
        for side in (CHOOSE, SCORE):
            halves[side].add(read.features[half == side], facts[half == side])
    if not features:
        raise InputError("there are no games to judge on")
    auroc, ap, base = zip(*(half.ranked(features, len(concepts)) for half in halves), strict=True)
    return Ranks(concepts, torch.stack(auroc), torch.stack(ap), torch.stack(base))


class _Half:
    """Active features and what holds, of all positions of one half."""

    def __init__(self) -> None:
        self.positions = 0
        self.rows: list[NDArray[np.int32]] = []
        self.columns: list[NDArray[np.int32]] = []
        self.values: list[NDArray[np.float32]] = []
        self.facts: list[tuple[NDArray[np.int64], NDArray[np.int32]]] = []

    def add(self, features: Tensor, facts: Tensor) -> None:
        from .kernels import lists

        dense = features.detach().float().cpu().numpy()
        rows, columns = np.nonzero(dense > 0)
        self.values.append(dense[rows, columns])
        self.rows.append((rows + self.positions).astype(np.int32))
        self.columns.append(columns.astype(np.int32))
        self.facts.append(lists(facts.numpy()))
        self.positions += len(dense)

    def ranked(self, features: int, concepts: int) -> tuple[Tensor, Tensor, Tensor]:
        """AUROC and average precision [feature, concept], and base rates [concept]."""
        from . import kernels

        rows, columns = np.concatenate(self.rows), np.concatenate(self.columns)
        values = np.concatenate(self.values)
        order = np.lexsort((-values, columns))
        rows, values = rows[order].astype(np.int64), values[order]
        ends = np.searchsorted(columns[order], np.arange(features + 1))
        starts, holding = _joined(self.facts)
        holds = np.bincount(holding, minlength=concepts)
        auroc, ap = np.empty((features, concepts)), np.empty((features, concepts))

        def part(i: int, j: int) -> None:
            for f in range(i, j):
                on = slice(ends[f], ends[f + 1])
                kernels.ranked(
                    rows[on],
                    values[on],
                    starts,
                    holding,
                    holds,
                    self.positions,
                    auroc[f],
                    ap[f],
                )

        shared_out(part, features, 16)
        base = torch.from_numpy(holds / max(1, self.positions)).float()
        return torch.from_numpy(auroc).float(), torch.from_numpy(ap).float(), base


def _joined(
    parts: list[tuple[NDArray[np.int64], NDArray[np.int32]]],
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    lengths = np.concatenate([np.diff(starts) for starts, _ in parts])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return starts, np.concatenate([holding for _, holding in parts])
