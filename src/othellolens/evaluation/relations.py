"""What features and concepts are to each other: redundant, polysemous, split, absorbed, duplicate.

Other benchmarks estimate these from probes and from words; here the truth of every concept at every
position is known, so each is a count. Labels and thresholds are chosen on the even games, and what
is counted is of the odd ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from ..lens import Reads
from ..othello.bitboards import Bits, count
from ..othello.games import Games
from .counts import CHOOSE, SCORE, Counts, fired
from .reconstruction import labelled
from .scores import Detectors, Scores, measured

BAR = 0.8
"""A feature detects a concept where its F1 reaches this."""
ALIKE = 0.9
"""Features are duplicates where the positions at which they are on overlap (Jaccard) this much."""
_RARE = 20
# Features that are on less often are not compared: a few positions agree by chance.


def detects(counts: Counts, *, bar: float = BAR) -> Bool[Tensor, "feature concept"]:
    """Whether each feature detects each concept with an F1 of at least `bar`.

    The threshold of each pair is the best on the choosing half; the F1 is of the scoring half.
    Sums over features are redundancy (features for one concept), over concepts polysemy.
    """
    features, concepts = counts.both.shape[2:]
    best = torch.full((features, concepts), -1.0)
    reached = torch.zeros(features, concepts)
    for level in range(len(counts.thresholds)):
        chosen = measured(counts, CHOOSE, level)
        better = chosen > best
        best = torch.where(better, chosen, best)
        reached = torch.where(better, measured(counts, SCORE, level), reached)
    return reached >= bar


@dataclass(frozen=True)
class Absorption:
    """Where a concept's main feature is silent although the concept holds."""

    missed: Int64[Tensor, " concept"]
    """Positions at which the concept holds and its main feature is off."""
    absorbed: Int64[Tensor, " concept"]
    """Those of them at which another feature of precision >= 0.95 for the concept is on."""

    def rate(self, where: Bool[Tensor, " concept"]) -> float:
        """Share of the missed positions of some concepts that others have absorbed."""
        return float(self.absorbed[where].sum() / self.missed[where].sum().clamp(min=1))


def absorption(reads: Reads, games: Games, scores: Scores) -> Absorption:
    """How much of what main features miss is taken over by features that say something narrower.

    The main feature of a concept is its best detector, at its threshold. Another feature whose
    being on implies the concept (precision >= 0.95 over >= 10 positions of the choosing half)
    absorbs a position where it is on in the main one's place (Chanin et al. 2024,
    https://arxiv.org/abs/2409.14507, with the truth in the place of a probe).

    Args:
        reads: what the scores are of.
        games: the games that they are of.
        scores: of a lens on these games.
    """
    counts, main = scores.counts, scores.per_concept
    labels = labelled(counts)[0].float()
    every = torch.arange(len(main.feature))
    own = labels[main.feature, every]
    missed, absorbed = (torch.zeros(len(every), dtype=torch.int64) for _ in range(2))
    for read in reads.read(games):
        half = read.boards.at[:, 0] % 2 == SCORE
        features, facts = read.features[half].cpu(), read.facts(counts.concepts)[half]
        on = fired(features, counts.peak, counts.thresholds[0]).float()
        others = on @ labels - on[:, main.feature] * own > 0.5
        silent = facts & ~_main_on(features, scores, main)
        missed += silent.sum(0)
        absorbed += (silent & others).sum(0)
    return Absorption(missed, absorbed)


def _main_on(
    features: Float[Tensor, "position feature"], scores: Scores, main: Detectors
) -> Bool[Tensor, "position concept"]:
    bars = torch.tensor(scores.counts.thresholds)[main.level] * scores.counts.peak[main.feature]
    return features[:, main.feature] > bars


@dataclass(frozen=True)
class Splitting:
    """What several features together say of one concept."""

    f1: Float[Tensor, "number concept"]
    """F1, on the scoring half, of the union of the best 1, 2, ... features."""

    def gain(self, where: Bool[Tensor, " concept"]) -> float:
        """Mean over some concepts of what the union of all adds to the first."""
        return float((self.f1[-1] - self.f1[0])[where].mean())


def splitting(
    reads: Reads, games: Games, counts: Counts, *, most: int = 6, candidates: int = 16
) -> Splitting:
    """Join features by "or" as long as that helps on the choosing half, greedily.

    A concept that was split into narrower features is detected by their union and by none of them.

    Memory: 1 bit a position, for each concept and for each feature and threshold that is tried.

    Args:
        reads: what the counts are of.
        games: the games that they are of.
        counts: of a lens on these games.
        most: features in a union.
        candidates: features of the best F1 that are tried, each at its best threshold.
    """
    level, feature = _candidates(counts, candidates)
    tried, which = (feature * len(counts.thresholds) + level).unique(return_inverse=True)
    on, facts = _bits(reads, games, counts, tried)
    unions = torch.zeros(most, len(counts.concepts))
    for concept, chosen in enumerate(which.T.numpy()):
        some = [half[chosen] for half in on]
        unions[:, concept] = _greedy(some, [half[concept] for half in facts], most)
    return Splitting(unions)


def _candidates(counts: Counts, number: int) -> tuple[Tensor, Tensor]:
    """[candidate, concept]: the best features of each concept, each at its best threshold."""
    features, concepts = counts.both.shape[2:]
    best, level = torch.full((features, concepts), -1.0), torch.zeros(features, concepts).long()
    for t in range(len(counts.thresholds)):
        values = measured(counts, CHOOSE, t)
        level[values > best] = t
        best = torch.maximum(best, values)
    feature = best.topk(min(number, features), 0).indices
    return level.gather(0, feature), feature


def _bits(
    reads: Reads, games: Games, counts: Counts, tried: Int64[Tensor, " pair"]
) -> tuple[list[Bits], list[Bits]]:
    """By half, a bit a position: whether each (feature, threshold) is on and each concept holds."""
    feature, level = tried // len(counts.thresholds), tried % len(counts.thresholds)
    bars = torch.tensor(counts.thresholds)[level] * counts.peak[feature]
    on: tuple[list[Bits], list[Bits]] = ([], [])
    facts: tuple[list[Bits], list[Bits]] = ([], [])
    for read in reads.read(games):
        half = read.boards.at[:, 0] % 2
        now, holds = read.features.cpu()[:, feature] > bars, read.facts(counts.concepts)
        for side in (CHOOSE, SCORE):
            on[side].append(_packed(now[half == side]))
            facts[side].append(_packed(holds[half == side]))
    joined = [[np.concatenate(parts, 1) for parts in halves] for halves in (on, facts)]
    return joined[0], joined[1]


def _packed(yes: Bool[Tensor, "position column"]) -> Bits:
    """[column, word]: 64 positions a word, what is over filled with no."""
    columns = yes.T.contiguous().numpy()
    padded = np.pad(columns, ((0, 0), (0, -columns.shape[1] % 64)))
    return np.packbits(padded, axis=1).view(np.uint64)


def _greedy(on: Sequence[Bits], holds: Sequence[Bits], most: int) -> Float[Tensor, " number"]:
    """F1 on the scoring half of unions of 1, 2, ... candidates; flat where no more helps."""
    union = [np.zeros_like(facts) for facts in holds]
    best, found = -1.0, torch.zeros(most)
    for number in range(most):
        tried = _f1_of(union[CHOOSE] | on[CHOOSE], holds[CHOOSE])
        top = int(tried.argmax())
        if float(tried[top]) <= best:
            break
        best = float(tried[top])
        union = [so_far | half[top] for so_far, half in zip(union, on, strict=True)]
        found[number:] = float(_f1_of(union[SCORE][None], holds[SCORE])[0])
    return found


def _f1_of(on: Bits, holds: Bits) -> NDArray[np.float64]:
    """Of each row of `on`."""
    both, fires = count(on & holds).sum(1), count(on).sum(1)
    return 2 * both / np.maximum(1, fires.astype(np.int64) + count(holds).sum())


class Twin(NamedTuple):
    """Two features that are on at the same positions."""

    one: int
    other: int
    jaccard: float
    """Positions at which both are on, as a share of those at which either is."""


def duplicates(reads: Reads, games: Games, *, alike: float = ALIKE) -> list[Twin]:
    """Pairs of features that are on together, the most alike first.

    Features that are on at fewer than 20 positions are left out.

    Memory: 4 bytes a pair of features.
    """
    together: Tensor | None = None
    for read in reads.read(games):
        on = (read.features.cpu() > 0).float()
        product = on.T @ on  # exact: a batch has fewer than 2^24 positions
        together = product.double() if together is None else together + product
    if together is None:
        return []
    fires = together.diagonal()
    overlap = together / (fires[:, None] + fires - together).clamp(min=1)
    often = fires >= _RARE
    pairs = (overlap >= alike) & often & often[:, None]
    ones, others = pairs.triu(1).nonzero().unbind(1)
    found = [Twin(a, b, float(overlap[a, b])) for a, b in zip(ones.tolist(), others.tolist())]  # noqa: B905
    return sorted(found, key=lambda twin: -twin.jaccard)


class Stability(NamedTuple):
    """How much two encoders have in common; 1 where they are the same."""

    nearest: float
    """Mean over the features of both of the greatest |cosine| with one of the other's."""
    matched: float
    """Mean |cosine| of pairs, each feature in one pair, the most alike paired first."""


def stability(one: Float[Tensor, "feature d"], other: Float[Tensor, "other d"]) -> Stability:
    """Compare the decoder vectors of two encoders of one site, of two seeds, say.

    Args:
        one: a vector a feature.
        other: the same of another encoder.
    """
    a, b = (x / x.norm(dim=1, keepdim=True).clamp(min=1e-12) for x in (one, other))
    alike = (a @ b.T).abs()
    nearest = (alike.amax(1).mean() + alike.amax(0).mean()) / 2
    return Stability(float(nearest), _paired(alike))


def _paired(alike: Float[Tensor, "one other"]) -> float:
    """Mean over pairs. Each is the other's best: whatever else is paired, nothing parts the two."""
    left, values = alike.clone(), [alike.new_zeros(0)]
    for _ in range(min(alike.shape)):
        top, column = left.max(1)
        mutual = (left.argmax(0)[column] == torch.arange(len(left), device=left.device)) & (
            top >= 0
        )
        if not bool(mutual.any()):
            break
        values.append(top[mutual])
        left[:, column[mutual]] = -1.0
        left[mutual] = -1.0
    return float(torch.cat(values).sum() / max(1, sum(map(len, values))))


def agreement(
    one: Float[Tensor, " concept"], other: Float[Tensor, " concept"], *, bar: float = BAR
) -> tuple[float, float]:
    """Do two encoders find the same concepts? (Jaccard of those found, mean |F1 difference|).

    The first is NaN where neither finds any: then there is nothing to agree on.

    Args:
        one: F1 of the best detector of each concept.
        other: the same of another encoder.
        bar: F1 from which a concept is found.
    """
    found, also = one >= bar, other >= bar
    either = int((found | also).sum())
    shared = int((found & also).sum()) / either if either else float("nan")
    return shared, float((one - other).abs().mean())
