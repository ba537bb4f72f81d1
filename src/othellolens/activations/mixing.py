"""Mixing: batches of rows from many games, the same however often and wherever one begins.

Neighbouring rows of a game are nearly the same vector, so a batch must not be crowded with rows of
one game. Each window of a source is shuffled as a whole; pass after pass, the windows come in a new
order, and each is shuffled anew. All of it is drawn from (seed, pass, window), so any batch can be
made without those before it.
"""

import hashlib
from collections.abc import Generator
from contextlib import closing

import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import InputError
from .ahead import ahead
from .crowding import check_mixable
from .rows import SiteRows
from .sources import Source


class Mixer:
    """Endless batches of exactly `batch` rows; in each pass every row comes once.

    Memory: see `bytes`. It grows with the window of the source, not with the number of games.
    """

    def __init__(self, source: Source, *, batch: int, seed: int, prefetch: int = 0) -> None:
        """Make a mixer.

        Args:
            source: of the rows.
            batch: rows a batch; batches cross the borders of windows and passes.
            seed: of the mixing.
            prefetch: windows that a thread reads ahead. It changes no batch. None by default: on
                the CPU the model that is read and the one that is trained share the same cores.
                While it reads, the model's weights and hooks must be left alone.

        Raises:
            InputError: no rows, `batch` below 1 or `prefetch` below 0, or windows so small that a
                row would meet more than one other of its own game in its batch; a source of a
                single window is all there is, and is taken as it is.
        """
        if batch < 1:
            raise InputError(f"a batch has at least 1 row, not {batch}")
        if prefetch < 0:
            raise InputError(f"prefetch is a number of windows, 0 for none, not {prefetch}")
        self.source, self.batch, self.seed, self.prefetch = source, batch, seed, prefetch
        self._sizes = [source.rows_in(number) for number in range(source.windows)]
        if not self.rows:
            raise InputError("there are no rows to mix: take a source with games")
        check_mixable(source, batch)

    @property
    def rows(self) -> int:
        """Rows in one pass."""
        return sum(self._sizes)

    @property
    def bytes(self) -> int:
        """The most that is held: the windows in use and read ahead, and a batch in the making.

        What the source needs to read a window is not counted.
        """
        row = 8 + 4 * sum(self.source.widths.values())
        order = 8
        return (1 + self.prefetch) * max(self._sizes) * (row + order) + 2 * self.batch * row

    def batches(self, start: int = 0) -> Generator[SiteRows]:
        """Batch `start` and all that follow, the same as in a run that began at 0.

        Only windows that are needed are read. Close the generator to stop the reading ahead; the
        window under way is read to its end.

        Raises:
            InputError: `start` is negative; what the source refuses, also where it is read ahead.
        """
        if start < 0:
            raise InputError(f"batches are counted from 0: there is no batch {start}")
        return self._batches(start * self.batch)

    def _batches(self, row: int) -> Generator[SiteRows]:
        parts: list[SiteRows] = []
        lacking = self.batch
        with closing(ahead(self._mixed(row), self.prefetch)) as windows:
            for window, order in windows:
                for taken in _cut(order, lacking, self.batch):
                    parts.append(window[taken])
                    lacking -= len(taken)
                    if not lacking:
                        yield SiteRows.cat(parts)
                        parts, lacking = [], self.batch
                # Let go before the next is read: two windows are twice the memory.
                del window

    def _mixed(self, row: int) -> Generator[tuple[SiteRows, Int64[Tensor, " position"]]]:
        """Windows and the order in which to take their rows, from row `row` of the stream on."""
        number, skip = divmod(row, self.rows)
        while True:
            for window in _drawn(self.source.windows, self.seed, number).tolist():
                size = self._sizes[window]
                if skip < size:
                    order = _drawn(size, self.seed, number, window)[skip:]
                    yield self.source.window(window), order
                skip = max(0, skip - size)
            number += 1


def _drawn(count: int, *what: int) -> Int64[Tensor, " position"]:
    """A permutation that belongs to these numbers."""
    # Hashed, because generators of neighbouring seeds need not be independent.
    drawn = hashlib.sha256(" ".join(map(str, what)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(drawn[:8], "big"))
    return torch.randperm(count, generator=generator)


def _cut(order: Tensor, first: int, batch: int) -> list[Tensor]:
    """Pieces of `batch` rows, the first of them of at most `first`."""
    return [part for part in (order[:first], *order[first:].split(batch)) if len(part)]
