"""Measures of a yes/no detector against a yes/no fact. Where a measure is 0 / 0 it is 0."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor


class Table(NamedTuple):
    """Numbers of positions, as tensors of any shapes that broadcast."""

    both: Tensor
    """Detector on and fact true."""
    fires: Tensor
    """Detector on."""
    holds: Tensor
    """Fact true."""
    positions: Tensor
    """All of them."""


Measure: TypeAlias = Callable[[Table], Tensor]


def precision(table: Table) -> Tensor:
    """Share of the detector's positions at which the fact is true."""
    return table.both / table.fires.clamp(min=1)


def recall(table: Table) -> Tensor:
    """Share of the fact's positions at which the detector is on."""
    return table.both / table.holds.clamp(min=1)


def f1(table: Table) -> Tensor:
    """Harmonic mean of precision and recall: 2 both / (fires + holds)."""
    return 2 * table.both / (table.fires + table.holds).clamp(min=1)


def always(table: Table) -> Tensor:
    """F1 of a detector that is always on: 2p / (1 + p), p the base rate."""
    return 2 * table.holds / (table.holds + table.positions).clamp(min=1)


def lift(table: Table) -> Tensor:
    """F1 above that of a detector that is always on, as a share of what is left above it.

    (F1 - 2p/(1+p)) / (1 - 2p/(1+p)): 1 is perfect, 0 is no better than always on, and it may be
    negative.
    """
    floor = always(table)
    return (f1(table) - floor) / (1 - floor).clamp(min=1e-12)


def mcc(table: Table) -> Tensor:
    """Matthews' correlation, the phi coefficient: 1 perfect, 0 chance, -1 always wrong.

    Source: Matthews 1975, Biochimica et Biophysica Acta 405, 442-451.
    """
    both, fires, holds, positions = (x.double() for x in table)
    covariance = both * positions - fires * holds
    spread = (fires * (positions - fires)).sqrt() * (holds * (positions - holds)).sqrt()
    return (covariance / spread.clamp(min=1)).float()


MEASURES: dict[str, Measure] = {
    "precision": precision,
    "recall": recall,
    "f1": f1,
    "lift": lift,
    "mcc": mcc,
}
"""By name."""
