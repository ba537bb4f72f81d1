"""Board reconstruction: rebuild the board from features that say one thing with high precision.

Karvonen et al. 2024 (https://arxiv.org/abs/2408.00113), section 4, eq. 5: a feature is labelled
with a concept where its precision is at least 0.95 over at least 10 true positives; a concept is
predicted where any feature labelled with it is on; F1 is pooled over all concepts and boards. Here
labels and threshold are chosen on one half of the games and the F1 is of the other, while the
published code chose the threshold on the games that it scored.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from ..concepts import cells
from ..lens import Reads
from ..othello.games import Games
from .counts import CHOOSE, SCORE, Counts, count, fired
from .measures import Table, precision

PRECISION = 0.95
SUPPORT = 10


class Reconstruction(NamedTuple):
    """How well the labelled features rebuild held-out boards."""

    f1: float
    precision: float
    recall: float
    threshold: float
    """Chosen on the other half of the games."""
    labelled: int
    """Features that got at least one label at that threshold."""


def reconstruct(
    reads: Reads,
    games: Games,
    *,
    counts: Counts | None = None,
) -> Reconstruction:
    """Rebuild boards from high-precision features.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        games: held-out games; even ones choose, odd ones are scored.
        counts: counts of this lens on these games; by default of the 128 mine / theirs facts. The
            concepts that they count are those that are rebuilt.
    """
    counts = count(reads, games, cells()) if counts is None else counts
    labels = labelled(counts)
    tallies = torch.zeros(2, len(counts.thresholds), 3, dtype=torch.int64)
    for read in reads.read(games):
        truth = read.facts(counts.concepts)
        half = read.boards.at[:, 0] % 2
        for level, threshold in enumerate(counts.thresholds):
            on = fired(read.features, counts.peak, threshold)
            guess = on.float() @ labels[level].float() > 0
            for side in (CHOOSE, SCORE):
                tallies[side, level] += _tally(guess[half == side], truth[half == side])
    level = int(_f1(tallies[CHOOSE]).argmax())
    hits, guessed, held = tallies[SCORE, level].tolist()
    return Reconstruction(
        2 * hits / max(1, guessed + held),
        hits / max(1, guessed),
        hits / max(1, held),
        counts.thresholds[level],
        int(labels[level].any(1).sum()),
    )


def labelled(counts: Counts) -> Bool[Tensor, "threshold feature concept"]:
    """Which concepts each feature stands for, by its precision on the choosing half."""
    both, fires = counts.both[CHOOSE], counts.fires[CHOOSE][..., None]
    right = precision(Table(both, fires, counts.holds[CHOOSE], counts.positions[CHOOSE]))
    return (right >= PRECISION) & (both >= SUPPORT)


def _tally(
    guess: Bool[Tensor, "position concept"], truth: Bool[Tensor, "position concept"]
) -> Tensor:
    return torch.stack([(guess & truth).sum(), guess.sum(), truth.sum()])


def _f1(tallies: Tensor) -> Tensor:
    hits, guessed, held = tallies.unbind(-1)
    return 2 * hits / (guessed + held).clamp(min=1)
