"""Crowding: how many rows of one game meet in a batch, as expected and as measured."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from ..errors import InputError
from .rows import SiteRows
from .sources import Source

_MOST = 1.0
# Companions from its own game that a row may expect in its batch.


@dataclass(frozen=True)
class Crowding:
    """Companions of a row: the other rows of its own game in its batch."""

    companions: float
    """Their number, on average over all rows measured."""
    most: int
    """The most rows of any one game in a batch."""
    expected: float
    """Companions if the windows are well shuffled."""
    unshuffled: float
    """Companions if the games follow one another as they were played."""


def crowding(batches: Iterable[SiteRows], number: int, source: Source) -> Crowding:
    """Measure the first `number` batches of rows from a source.

    Raises:
        InputError: there are no rows in them.
    """
    rows = companions = most = 0
    size = 0
    for batch in islice(batches, number):
        counts = batch.at[:, 0].unique(return_counts=True)[1]
        rows += len(batch)
        size = max(size, len(batch))
        companions += int((counts * (counts - 1)).sum())
        most = max(most, *counts.tolist(), 0)
    if not rows:
        raise InputError("no batch, no crowding: measure at least one that has rows")
    return Crowding(companions / rows, most, expected(source, size), unshuffled(source, size))


def expected(source: Source, batch: int) -> float:
    """Companions of a row in a batch of well shuffled rows, in the worst window.

    Of w rows of g games, each of w / g rows, `batch` - 1 are drawn beside the row itself.
    """
    sizes = [(source.rows_in(number), source.games_in(number)) for number in range(source.windows)]
    return max((_expected(rows, games, batch) for rows, games in sizes), default=0.0)


def unshuffled(source: Source, batch: int) -> float:
    """Companions of a row if a batch is cut from the games as they follow one another.

    Two rows that lie d apart are of one game of r rows with probability 1 - d / r, and in one batch
    with probability 1 - d / `batch`.
    """
    rows, games = _total(source)
    length = rows / max(games, 1)
    near = range(1, min(int(length), batch - 1) + 1)
    return 2.0 * sum(max(0.0, 1 - d / length) * (1 - d / batch) for d in near)


def mixable(window: int, batch: int) -> int:
    """Games a window, at least `window`, whose batches of so many rows are never crowded.

    Games are shared out evenly over windows, so that a window may be half of what was asked for.
    """
    return max(window, 2 * batch)


def check_mixable(source: Source, batch: int) -> None:
    """Refuse windows of so few games that batches would be crowded with rows of one game.

    Raises:
        InputError: saying how many games a window, or rows a batch, would do.
    """
    crowd = expected(source, batch)
    if source.windows < 2 or crowd <= _MOST:
        return
    _, games = _total(source)
    # A row has 1 companion at most where a window has as many games as a batch has rows.
    window = -(-games // max(1, games // batch))
    raise InputError(
        f"windows of {source.games_in(0)} games are too few to mix batches of {batch} rows: a row"
        f" would meet {crowd:.1f} others of its own game; make windows of {window} games, or"
        f" batches of at most {_largest(source)} rows"
    )


def _largest(source: Source) -> int:
    """The largest batch that these windows can mix."""
    sizes = [(source.rows_in(number), source.games_in(number)) for number in range(source.windows)]
    long = [(rows, rows / games) for rows, games in sizes if rows > 2 * games]
    return min(1 + int(_MOST * (rows - 1) / (length - 1)) for rows, length in long)


def _total(source: Source) -> tuple[int, int]:
    numbers = range(source.windows)
    return sum(map(source.rows_in, numbers)), sum(map(source.games_in, numbers))


def _expected(rows: int, games: int, batch: int) -> float:
    if rows < 2 or not games:
        return 0.0
    return (min(batch, rows) - 1) * max(0.0, rows / games - 1) / (rows - 1)
