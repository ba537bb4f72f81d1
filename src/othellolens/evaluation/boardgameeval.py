"""The published Othello SAE scores as they were computed, faults included.

Karvonen et al. 2024 (https://arxiv.org/abs/2408.00113), as coded in
https://github.com/adamkarvonen/SAE_BoardGameEval. What it does otherwise than `scores` and
`reconstruction`:

* "mine" goes by the parity of the ply, which is wrong after a pass.
* Coverage takes one threshold for all concepts, chosen on the games that are scored.
* Its mean divides by 64 x 3 board states also where blanks are masked, so that 64 of the 192 terms
  are 0 and the most that can be reached is 0.667; by 192 with blanks (188 can be true, 0.979), and
  by 64 for legal moves (60 can be true, 0.9375).
* Reconstruction labels features on some games and rebuilds the boards of others, and takes the
  threshold that is best on the latter; "composite" uses for each feature the highest threshold
  that it exceeds and at which it has a label.
* Features that were never on in the first half of the games (at most 1,000) are left out.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..concepts import ConceptSet, family
from ..lens import Reads
from ..othello.games import Games
from .counts import THRESHOLDS, Counts, counted
from .measures import Table, f1, precision
from .reconstruction import PRECISION, SUPPORT

_PEAK_GAMES = 1000


class Kind(NamedTuple):
    """What is counted, and by what its sum is divided."""

    families: tuple[str, ...]
    terms: int


KINDS = {
    "board": Kind(("mine by parity", "theirs by parity"), 192),
    "board with blanks": Kind(("mine by parity", "theirs by parity", "empty"), 192),
    "legal moves": Kind(("legal",), 64),
}
"""The three board state functions that were run, by what they are called here; the published
coverage is that of "board"."""


@dataclass(frozen=True)
class Published:
    """Scores of one kind, as the published code has them."""

    coverage: float
    attainable: float
    """The coverage of an encoder whose features are all of these concepts."""
    threshold: float
    """With the best coverage."""
    reconstruction: float
    composite: float
    """Reconstruction with each feature's highest threshold."""

    @property
    def corrected(self) -> float:
        """Coverage divided by what can be attained; thresholds still chosen on what is scored."""
        return self.coverage / self.attainable


def published(reads: Reads, train: Games, test: Games) -> dict[str, Published]:
    """Judge as the published code does.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        train: games for coverage and labels; 1,000 in the paper.
        test: games whose boards are rebuilt; 1,000 in the paper.

    Returns:
        Scores by the names of `KINDS`.
    """
    concepts = _all()
    peak = _peaks(reads, train[: max(1, min(len(train) // 2, _PEAK_GAMES))])
    alive = peak > 0
    counts = counted(reads.read(train), concepts, THRESHOLDS, peak)
    pooled = _Pooled(counts, alive)
    tallies = _rebuilt(reads, test, pooled)
    return {
        name: _published(pooled, kind, _families(concepts, kind), tallies[name])
        for name, kind in KINDS.items()
    }


class _Pooled:
    """Counts of both halves together: this protocol knows no halves."""

    def __init__(self, counts: Counts, alive: Bool[Tensor, " feature"]) -> None:
        self.concepts, self.thresholds, self.peak = counts.concepts, counts.thresholds, counts.peak
        self.alive = alive
        both, fires = counts.both.sum(0) * alive[:, None], counts.fires.sum(0) * alive
        table = Table(both, fires[..., None], counts.holds.sum(0), counts.positions.sum())
        self.f1 = f1(table)
        self.labels = (precision(table) >= PRECISION) & (both >= SUPPORT)
        self.exists = counts.holds.sum(0) > 0

    def on(self, features: Tensor, level: int) -> Bool[Tensor, "position feature"]:
        """Whether a feature that counts exceeds a threshold."""
        return (features > self.thresholds[level] * self.peak) & self.alive


def _published(
    pooled: _Pooled, kind: Kind, chosen: Bool[Tensor, " concept"], tallies: Tensor
) -> Published:
    by_level = pooled.f1.amax(1)[:, chosen].sum(1) / kind.terms
    level = int(by_level.argmax())
    hits, guessed, held = tallies.double().unbind(-1)
    rebuilt = 2 * hits / (guessed + held).clamp(min=1)
    return Published(
        float(by_level[level]),
        int(pooled.exists[chosen].sum()) / kind.terms,
        pooled.thresholds[level],
        float(rebuilt[:-1].max()),
        float(rebuilt[-1]),
    )


def _rebuilt(
    reads: Reads, games: Games, pooled: _Pooled
) -> dict[str, Int64[Tensor, "threshold 3"]]:
    """(hits, guessed, held) at each threshold, and for the composite of all in the last row.

    As coded, the composite stands in the place of the highest threshold.
    """
    levels = len(pooled.thresholds)
    where = {name: _families(pooled.concepts, kind) for name, kind in KINDS.items()}
    tallies = {name: torch.zeros(levels, 3, dtype=torch.int64) for name in KINDS}
    for read in reads.read(games):
        truth, features = read.facts(pooled.concepts), read.features.cpu()
        on = torch.stack([pooled.on(features, level) for level in range(levels)])
        for name, chosen in where.items():
            labels = pooled.labels[..., chosen].float()
            guesses = [on[level].float() @ labels[level] > 0 for level in range(levels - 1)]
            guesses.append(_composite(on, labels))
            for level, guess in enumerate(guesses):
                held = truth[:, chosen]
                found = ((guess & held).sum(), guess.sum(), held.sum())
                tallies[name][level] += torch.stack(found)
    return tallies


def _composite(
    on: Bool[Tensor, "threshold position feature"],
    labels: Float[Tensor, "threshold feature concept"],
) -> Bool[Tensor, "position concept"]:
    """What is said by each feature's labels at the highest threshold that has some."""
    says = labels.sum(2) > 0
    level = torch.arange(len(on))[:, None, None]
    highest = (on & says[:, None, :]).long().mul(level).amax(0)
    total = torch.zeros(on.shape[1], labels.shape[2])
    for i in range(len(on)):
        total += (on[0] & (highest == i)).float() @ labels[i]
    return total > 0


def _peaks(reads: Reads, games: Games) -> Float[Tensor, " feature"]:
    tops = [read.features.amax(0).cpu() for read in reads.read(games)]
    return torch.stack(tops).amax(0).clamp(min=0)


def _all() -> ConceptSet:
    concepts = ConceptSet(())
    for name in ("mine by parity", "theirs by parity", "empty", "legal"):
        concepts = concepts + family(name)
    return concepts


def _families(concepts: ConceptSet, kind: Kind) -> Bool[Tensor, " concept"]:
    return torch.tensor([concept.family in kind.families for concept in concepts.concepts])
