"""Counts: how often features and concepts hold together, per threshold.

Every score of the judge is a pure function of these numbers. They are additive, so shards and
machines merge by `+` (`countfiles` saves them on the way). Even-numbered games are counted apart
from odd ones: whatever is chosen is chosen on the even half and scored on the odd one.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..lens import Read, Reads
from ..othello.games import Games
from ..othello.workers import shared_out

CHOOSE, SCORE = 0, 1
"""The halves: games of even number, games of odd number."""
THRESHOLDS = tuple(step / 10 for step in range(11))
"""A feature is on where it exceeds this share of its peak (Karvonen et al. 2024, section 4)."""
MEMORY = 4 * 2**30
"""Bytes that the counts of one call may take, unless it is told otherwise."""
_FEATURES = 32
# Features that one thread counts at a time.


@dataclass(frozen=True)
class Counts:
    """Numbers of positions, by half of the games."""

    concepts: ConceptSet
    thresholds: tuple[float, ...]
    peak: Float[Tensor, " feature"]
    """The activation that counts as 1 when thresholds are applied; never below 0."""
    positions: Int64[Tensor, " half"]
    fires: Int64[Tensor, "half threshold feature"]
    """Positions at which the feature exceeds threshold * peak."""
    holds: Int64[Tensor, "half concept"]
    """Positions at which the concept holds."""
    both: Integer[Tensor, "half threshold feature concept"]
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
        positions = self.positions + other.positions
        # Nothing is counted more often than there are positions, and F1 doubles what is counted.
        wide = 2 * int(positions.max()) > torch.iinfo(self.both.dtype).max
        both = self.both.long() if wide else self.both
        return replace(
            self,
            positions=positions,
            fires=self.fires + other.fires,
            holds=self.holds + other.holds,
            both=both + other.both,
        )

    def only(self, *families: str) -> "Counts":
        """The counts of some families of concepts alone."""
        return self.where(torch.tensor([c.family in families for c in self.concepts.concepts]))

    def where(self, chosen: Bool[Tensor, " concept"]) -> "Counts":
        """The counts of some concepts alone."""
        pairs = zip(self.concepts.concepts, chosen.tolist(), strict=True)
        return replace(
            self,
            concepts=ConceptSet(tuple(concept for concept, kept in pairs if kept)),
            holds=self.holds[:, chosen],
            both=self.both[..., chosen],
        )


def peaks(
    reads: Reads, games: Games, *, most: int = 500, first: int = 0
) -> Float[Tensor, " feature"]:
    """The largest activation of each feature on the first `most` games of the choosing half."""
    seen: Tensor | None = None
    for read in reads.read(games[: 2 * most]):
        chosen = read.features[(read.boards.at[:, 0] + first) % 2 == CHOOSE]
        if len(chosen):
            top = chosen.amax(0)
            seen = top if seen is None else torch.maximum(seen, top)
    if seen is None:
        raise InputError("there are no games to judge on")
    return seen.clamp(min=0)


def bytes_needed(features: int, concepts: int, thresholds: int = len(THRESHOLDS)) -> int:
    """Memory that `count` takes, beside one batch of features: 4 bytes a number."""
    return 4 * 2 * thresholds * features * concepts


def count(
    reads: Reads,
    games: Games,
    concepts: ConceptSet,
    *,
    thresholds: tuple[float, ...] = THRESHOLDS,
    peak: Float[Tensor, " feature"] | None = None,
    first: int = 0,
    memory: int = MEMORY,
) -> Counts:
    """Count how often each feature is on and each concept holds, together and apart.

    Memory: 4 bytes x 2 halves x thresholds x features x concepts, and one batch of features.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        games: held-out games.
        concepts: what to look for.
        thresholds: shares of a feature's peak, ascending, from 0.
        peak: what counts as a feature's 1; by default `peaks(reads, games)`.
        first: the number of the first of these games among all, where they are a share of more:
            so each stays in its half, and the shares add up to the counts of the whole.
        memory: bytes that the counts may take; see `chunks`.

    Raises:
        InputError: the thresholds do not ascend from 0 or above, there are no games, the peaks are
            of another number of features, or the counts do not fit into `memory`.
    """
    _check(thresholds)
    peak = (peaks(reads, games, first=first) if peak is None else peak).clamp(min=0)
    needed = bytes_needed(len(peak), len(concepts), len(thresholds))
    if needed > memory:
        raise InputError(
            f"counts of {len(peak):,} features and {len(concepts):,} concepts take"
            f" {needed / 2**30:.1f} GiB, and {memory / 2**30:.1f} GiB are allowed: count fewer"
            " concepts at a time (evaluation.counts.chunks cuts them)"
        )
    return counted(reads.read(games), concepts, thresholds, peak, first=first)


def chunks(
    concepts: ConceptSet,
    features: int,
    *,
    thresholds: int = len(THRESHOLDS),
    memory: int = MEMORY,
) -> Iterator[ConceptSet]:
    """Concepts in parts whose counts fit into `memory` bytes; at least one concept a part."""
    most = max(1, memory // bytes_needed(features, 1, thresholds))
    for first in range(0, len(concepts), most):
        yield ConceptSet(concepts.concepts[first : first + most])


def counted(
    batches: Iterator[Read],
    concepts: ConceptSet,
    thresholds: tuple[float, ...],
    peak: Float[Tensor, " feature"],
    *,
    first: int = 0,
) -> Counts:
    """Counts of what was read; their slow twin is in `tests/reference`."""
    features, levels = len(peak), len(thresholds)
    fires = torch.zeros(features, 2, levels, dtype=torch.int64)
    both = torch.zeros(features, 2, levels, len(concepts), dtype=torch.int32)
    positions = torch.zeros(2, dtype=torch.int64)
    holds = torch.zeros(2, len(concepts), dtype=torch.int64)
    bars = torch.stack([threshold * peak for threshold in thresholds], 1).float()
    for read in batches:
        if read.features.shape[1] != features:
            raise InputError(
                f"{features:,} peaks were given and the encoder has {read.features.shape[1]:,}"
                " features: measure the peaks with the same encoder"
            )
        facts, half = read.facts(concepts), ((read.boards.at[:, 0] + first) % 2).to(torch.uint8)
        for side in (CHOOSE, SCORE):
            positions[side] += (half == side).sum()
            holds[side] += facts[half == side].sum(0)
        _tally(read.features, bars, half, facts, fires, both)
    return Counts(
        concepts,
        thresholds,
        peak,
        positions,
        _at_least(fires, 2).permute(1, 2, 0),
        holds,
        _at_least(both, 2).permute(1, 2, 0, 3),
    )


def _tally(
    features: Float[Tensor, "position feature"],
    bars: Float[Tensor, "feature threshold"],
    half: Tensor,
    facts: Bool[Tensor, "position concept"],
    fires: Tensor,
    both: Tensor,
) -> None:
    from . import kernels

    starts, holding = kernels.lists(facts.numpy())
    columns = features.detach().float().cpu().T.contiguous().numpy()
    limits, halves, fired, together = (x.numpy() for x in (bars, half, fires, both))

    def part(i: int, j: int) -> None:
        kernels.tally(columns[i:j], limits[i:j], halves, starts, holding, fired[i:j], together[i:j])

    shared_out(part, len(columns), _FEATURES)


def _at_least(counts: Tensor, axis: int) -> Tensor:
    """From how often each threshold was the highest that was exceeded to how often it was."""
    for level in range(counts.shape[axis] - 2, -1, -1):
        counts.select(axis, level).add_(counts.select(axis, level + 1))
    return counts


def _check(thresholds: tuple[float, ...]) -> None:
    ascending = all(a < b for a, b in zip(thresholds, thresholds[1:], strict=False))
    if not thresholds or thresholds[0] < 0 or not ascending:
        raise InputError(f"thresholds ascend from 0 or above: not {thresholds}")


def fired(
    features: Float[Tensor, "position feature"], peak: Float[Tensor, " feature"], threshold: float
) -> Bool[Tensor, "position feature"]:
    """Whether a feature exceeds `threshold` times its peak."""
    return features > threshold * peak
