"""Counting as compiled loops: the choke point of the judge's speed.

Most features are off and most concepts do not hold, so work is done only where one of each is on
and holds: for every active feature of a position, one addition for every concept that holds there.
How many thresholds there are costs nothing: an activation is counted at the highest threshold that
it exceeds, and sums over the thresholds are taken once, at the end.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..compiled import compiled

Floats = NDArray[np.float32]


@compiled
def tally(
    features: Floats,
    bars: Floats,
    half: NDArray[np.uint8],
    starts: NDArray[np.int64],
    holding: NDArray[np.int32],
    fires: NDArray[np.int64],
    both: NDArray[np.int32],
) -> None:
    """Add a batch to counts that are not yet summed over thresholds.

    Args:
        features: [feature, position].
        bars: [feature, threshold], ascending: what an activation must exceed.
        half: [position], 0 or 1.
        starts: [position + 1], where the concepts of a position begin in `holding`.
        holding: the concepts that hold, position after position.
        fires: [feature, half, threshold].
        both: [feature, half, threshold, concept].
    """
    levels = bars.shape[1]
    for f in range(features.shape[0]):
        for n in range(features.shape[1]):
            x = features[f, n]
            if not x > bars[f, 0]:
                continue
            level = 0
            while level + 1 < levels and x > bars[f, level + 1]:
                level += 1
            fires[f, half[n], level] += 1
            row = both[f, half[n], level]
            for i in range(starts[n], starts[n + 1]):
                row[holding[i]] += 1


@compiled
def ranked(
    order: NDArray[np.int64],
    values: Floats,
    starts: NDArray[np.int64],
    holding: NDArray[np.int32],
    holds: NDArray[np.int64],
    positions: int,
    auroc: NDArray[np.float64],
    ap: NDArray[np.float64],
) -> None:
    """AUROC and average precision of one feature for every concept, exact, ties included.

    Args:
        order: positions at which the feature is on, by falling activation.
        values: the activation at each of them.
        starts: [position + 1], where the concepts of a position begin in `holding`.
        holding: the concepts that hold, position after position.
        holds: [concept], at how many positions each holds.
        positions: how many there are, the feature on or off.
        auroc: [concept], filled.
        ap: [concept], filled.
    """
    seen = np.zeros(len(holds), np.int64)
    # U is twice the number of (holds, does not) pairs in the right order, ties half.
    twice_u = np.zeros(len(holds), np.int64)
    precision = np.zeros(len(holds), np.float64)
    first, total = 0, len(order)
    while first < total:
        last = first + 1
        while last < total and values[last] == values[first]:
            last += 1
        for i in range(first, last):
            for j in range(starts[order[i]], starts[order[i] + 1]):
                c = holding[j]
                twice_u[c] += positions - holds[c] - (first - seen[c])
        for i in range(first, last):
            for j in range(starts[order[i]], starts[order[i] + 1]):
                seen[holding[j]] += 1
        for i in range(first, last):
            for j in range(starts[order[i]], starts[order[i] + 1]):
                c = holding[j]
                twice_u[c] += positions - holds[c] - (last - seen[c])
                precision[c] += seen[c] / last
        first = last
    for c in range(len(holds)):
        missed, others = holds[c] - seen[c], positions - holds[c]
        below = others - (total - seen[c])
        pairs = holds[c] * others
        auroc[c] = (0.5 * twice_u[c] + 0.5 * missed * below) / pairs if pairs else np.nan
        tail = missed * holds[c] / positions if positions else 0.0
        ap[c] = (precision[c] + tail) / holds[c] if holds[c] else np.nan


def lists(facts: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """[position, concept] yes and no as lists: where each position begins, and what holds."""
    starts = np.zeros(len(facts) + 1, np.int64)
    np.cumsum(facts.sum(1), out=starts[1:])
    holding: Any = np.nonzero(facts)[1]
    return starts, holding.astype(np.int32)
