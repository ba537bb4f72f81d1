"""How sure the judge is: intervals by bootstrap over games, and control of many comparisons.

Positions of one game are alike, so games are drawn, not positions: each time as many games as
there are, with replacement, from the scoring half. What was chosen on the other half stays as it
is, so an interval is of the score of these detectors on other games.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..errors import InputError
from ..lens import Reads
from ..othello.games import Games
from .counts import SCORE, fired
from .measures import Table
from .scores import Detectors, Scores, Thresholds, measure_of

DRAWS = 1000
"""How often games are drawn."""


class Interval(NamedTuple):
    """A score, and where it lies for so many of 100 draws of games."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class ByGame:
    """How the detectors of concepts did, game by game of the scoring half."""

    both: Int64[Tensor, "game concept"]
    fires: Int64[Tensor, "game concept"]
    holds: Int64[Tensor, "game concept"]
    positions: Int64[Tensor, " game"]

    def drawn(self, measure: str, *, draws: int, seed: int) -> Float[Tensor, "draw concept"]:
        """A measure of each detector on each draw of games."""
        weights = game_weights(len(self.positions), draws, seed)
        columns = (self.both, self.fires, self.holds, self.positions[:, None])
        return measure_of(measure)(Table(*(weights @ x.double() for x in columns)))


def by_game(reads: Reads, games: Games, scores: Scores, thresholds: Thresholds) -> ByGame:
    """Count the chosen detectors once more, every game for itself.

    Args:
        reads: what the scores are of.
        games: the games that they are of.
        scores: which detectors.
        thresholds: which of their three kinds.
    """
    found = scores.detector(thresholds)
    shape = (len(games), len(scores.counts.concepts))
    both, fires, holds = (torch.zeros(shape, dtype=torch.int64) for _ in range(3))
    positions = torch.zeros(len(games), dtype=torch.int64)
    for read in reads.read(games):
        facts, game = read.facts(scores.counts.concepts), read.boards.at[:, 0].long()
        on = _on(read.features, scores, found)
        both.index_add_(0, game, (on & facts).long())
        fires.index_add_(0, game, on.long())
        holds.index_add_(0, game, facts.long())
        positions.index_add_(0, game, torch.ones_like(game))
    chosen = torch.arange(len(games)) % 2 == SCORE
    return ByGame(both[chosen], fires[chosen], holds[chosen], positions[chosen])


def interval(
    scores: Scores,
    games: ByGame,
    *families: str,
    thresholds: Thresholds = "concept",
    measure: str = "f1",
    draws: int = DRAWS,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The coverage of some families with its bootstrap interval.

    Args:
        scores: of a lens on games.
        games: `by_game` of the same, with the same `thresholds`.
        families: as for `Scores.coverage`.
        thresholds: which detectors.
        measure: of each detector.
        draws: how often games are drawn.
        level: share of the draws inside the interval.
        seed: of the draws.
    """
    where = scores.where(*families)
    drawn = games.drawn(measure, draws=draws, seed=seed)[:, where].mean(1)
    value = scores.coverage(*families, thresholds=thresholds, measure=measure)
    return Interval(value, *quantiles(drawn, level))


def quantiles(drawn: Float[Tensor, " draw"], level: float = 0.95) -> tuple[float, float]:
    """The middle `level` of the draws."""
    if not 0 < level < 1:
        raise InputError(f"the level of an interval lies between 0 and 1: not {level}")
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=drawn.dtype)
    low, high = drawn.quantile(ends).tolist()
    return low, high


def better_than_always(
    games: ByGame, *, rate: float = 0.05, draws: int = DRAWS, seed: int = 0
) -> Bool[Tensor, " concept"]:
    """Concepts whose detector beats one that is always on, at a false discovery rate.

    For each concept p = (1 + draws in which the lift is not above 0) / (1 + draws); the procedure
    of Benjamini and Hochberg (1995, J. R. Stat. Soc. B 57, 289-300) decides over all concepts. Each
    concept has one detector, chosen on other games, so nothing was selected on these.
    """
    lifts = games.drawn("lift", draws=draws, seed=seed)
    p = (1 + (lifts <= 0).sum(0)).double() / (1 + draws)
    return discoveries(p, rate)


def discoveries(p: Float[Tensor, " test"], rate: float) -> Bool[Tensor, " test"]:
    """Which of many tests to believe, so that of those at most a share `rate` is false."""
    order = p.argsort()
    limits = rate * torch.arange(1, len(p) + 1).double() / len(p)
    below = (p[order] <= limits).nonzero()
    found = torch.zeros(len(p), dtype=torch.bool)
    if len(below):
        found[order[: int(below[-1]) + 1]] = True
    return found


def _on(
    features: Float[Tensor, "position feature"], scores: Scores, found: Detectors
) -> Bool[Tensor, "position concept"]:
    """Whether each concept's detector is on."""
    on = torch.zeros(len(features), len(found.feature), dtype=torch.bool)
    for level, threshold in enumerate(scores.counts.thresholds):
        mine = found.level == level
        which = found.feature[mine]
        on[:, mine] = fired(features[:, which].cpu(), scores.counts.peak[which], threshold)
    return on


def game_weights(games: int, draws: int, seed: int) -> Float[Tensor, "draw game"]:
    """How often each game is in each of so many draws of as many games."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(games, (draws, games), generator=generator)
    weights = torch.zeros(draws, games, dtype=torch.float64)
    return weights.scatter_add_(1, chosen, torch.ones(draws, games, dtype=torch.float64))
