"""Scores of detectors by loops over positions and by what the words say; shares no code."""

from collections.abc import Sequence


def counts(on: Sequence[bool], holds: Sequence[bool]) -> tuple[int, int, int, int]:
    """(true positives, false positives, false negatives, true negatives)."""
    cells = [0, 0, 0, 0]
    for a, b in zip(on, holds, strict=True):
        cells[(0 if b else 1) if a else (2 if b else 3)] += 1
    return cells[0], cells[1], cells[2], cells[3]


def f1(on: Sequence[bool], holds: Sequence[bool]) -> float:
    hits, false, missed, _ = counts(on, holds)
    if not hits:
        return 0.0
    precision, recall = hits / (hits + false), hits / (hits + missed)
    return 2 / (1 / precision + 1 / recall)


def lift(on: Sequence[bool], holds: Sequence[bool]) -> float:
    floor = f1([True] * len(holds), holds)
    return (f1(on, holds) - floor) / (1 - floor)


def mcc(on: Sequence[bool], holds: Sequence[bool]) -> float:
    """The correlation of two columns of 0 and 1."""
    n = len(on)
    a, b = [float(x) for x in on], [float(x) for x in holds]
    mean_a, mean_b = sum(a) / n, sum(b) / n
    covariance = sum((x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True))
    spread = sum((x - mean_a) ** 2 for x in a) * sum((y - mean_b) ** 2 for y in b)
    return covariance / spread**0.5 if spread else 0.0


def auroc(values: Sequence[float], holds: Sequence[bool]) -> float:
    """Over all pairs of a position where it holds and one where it does not."""
    yes = [x for x, h in zip(values, holds, strict=True) if h]
    no = [x for x, h in zip(values, holds, strict=True) if not h]
    won = sum((x > y) + 0.5 * (x == y) for x in yes for y in no)
    return won / (len(yes) * len(no))


def average_precision(values: Sequence[float], holds: Sequence[bool]) -> float:
    """Mean over the positives of the precision among all that are at least as high."""
    pairs = list(zip(values, holds, strict=True))
    total = 0.0
    for x, h in pairs:
        if h:
            among = [other for y, other in pairs if y >= x]
            total += sum(among) / len(among)
    return total / sum(holds)
