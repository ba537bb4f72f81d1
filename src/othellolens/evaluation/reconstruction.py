"""Board reconstruction: rebuild the board from features that say one thing with high precision.

Karvonen et al. 2024 (https://arxiv.org/abs/2408.00113), section 4, eq. 5: a feature is labelled
with a concept where its precision is at least 0.95 over at least 10 true positives; a concept is
predicted where any feature labelled with it is on; F1 is pooled over all concepts and boards. Here
labels and threshold are chosen on one half of the games and the F1 is of the other, while the
published code chose the threshold on the games that it scored.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from ..concepts import cells
from ..lens import Reads
from ..othello.games import Games
from .bootstrap import DRAWS, Interval, game_weights, quantiles
from .counts import CHOOSE, SCORE, Counts, count, fired
from .measures import Table, precision

PRECISION = 0.95
SUPPORT = 10


@dataclass(frozen=True)
class Reconstruction:
    """How well the labelled features rebuild held-out boards."""

    threshold: float
    """Chosen on the other half of the games."""
    labelled: int
    """Features that got at least one label at that threshold."""
    by_game: Int64[Tensor, "game 3"]
    """Of each game of the scoring half: facts rightly said, facts said, facts that hold."""

    @property
    def f1(self) -> float:
        """2 right / (said + hold), pooled over facts and boards."""
        return float(_f1(self.by_game.sum(0)))

    @property
    def precision(self) -> float:
        """Right / said."""
        right, said, _ = self.by_game.sum(0).tolist()
        return right / max(1, said)

    @property
    def recall(self) -> float:
        """Right / hold."""
        right, _, hold = self.by_game.sum(0).tolist()
        return right / max(1, hold)

    def interval(self, *, draws: int = DRAWS, level: float = 0.95, seed: int = 0) -> Interval:
        """F1 with its interval by bootstrap over games."""
        drawn = game_weights(len(self.by_game), draws, seed) @ self.by_game.double()
        return Interval(self.f1, *quantiles(_f1(drawn), level))


def reconstruct(reads: Reads, games: Games, *, counts: Counts | None = None) -> Reconstruction:
    """Rebuild boards from high-precision features.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        games: held-out games; even ones choose, odd ones are scored.
        counts: counts of these reads on these games; by default of the 128 mine / theirs facts. The
            concepts that they count are those that are rebuilt.

    Raises:
        InputError: there are no games.
    """
    counts = count(reads, games, cells()) if counts is None else counts
    labels = labelled(counts)
    tallies = torch.zeros(len(counts.thresholds), len(games), 3, dtype=torch.int64)
    for read in reads.read(games):
        truth, game = read.facts(counts.concepts), read.boards.at[:, 0].long()
        for level, threshold in enumerate(counts.thresholds):
            said = labels[level].any(1)  # few features stand for anything
            on = fired(read.features[:, said], counts.peak[said], threshold)
            guess = on.float() @ labels[level][said].float() > 0
            tallies[level].index_add_(0, game, _tally(guess, truth))
    half = torch.arange(len(games)) % 2
    level = int(_f1(tallies[:, half == CHOOSE].sum(1)).argmax())
    return Reconstruction(
        counts.thresholds[level], int(labels[level].any(1).sum()), tallies[level, half == SCORE]
    )


def labelled(counts: Counts) -> Bool[Tensor, "threshold feature concept"]:
    """Which concepts each feature stands for, by its precision on the choosing half."""
    both, fires = counts.both[CHOOSE], counts.fires[CHOOSE][..., None]
    right = precision(Table(both, fires, counts.holds[CHOOSE], counts.positions[CHOOSE]))
    return (right >= PRECISION) & (both >= SUPPORT)


def _tally(
    guess: Bool[Tensor, "position concept"], truth: Bool[Tensor, "position concept"]
) -> Int64[Tensor, "position 3"]:
    return torch.stack([(guess & truth).sum(1), guess.sum(1), truth.sum(1)], 1)


def _f1(tallies: Tensor) -> Tensor:
    right, said, hold = tallies.unbind(-1)
    return 2 * right / (said + hold).clamp(min=1)
