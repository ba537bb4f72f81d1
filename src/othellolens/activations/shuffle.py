"""A shuffling buffer: rows of many games mixed, in bounded memory."""

from collections.abc import Iterator

import torch

from ..errors import InputError
from .rows import Rows


def shuffled(rows: Iterator[Rows], *, size: int, batch: int, seed: int) -> Iterator[Rows]:
    """The same rows in mixed order, in batches: nothing lost, nothing twice.

    Keeps `size` rows; whenever the buffer is full it is mixed and its first half is handed out.
    Each batch has exactly `batch` rows, but for the last of a finite stream.

    Memory: see `buffer_bytes`.

    Args:
        rows: any stream of rows.
        size: rows kept in the buffer, at least two batches.
        batch: rows handed out at a time.
        seed: of the mixing.

    Raises:
        InputError: the buffer is smaller than two batches.
    """
    if size < 2 * batch:
        raise InputError(f"a buffer of {size} rows cannot mix batches of {batch}: take {2 * batch}")
    generator = torch.Generator().manual_seed(seed)
    pool: list[Rows] = []
    for part in rows:
        pool.append(part)
        if sum(map(len, pool)) < size:
            continue
        mixed = _mix(pool, generator)
        ready = (len(mixed) - size // 2) // batch * batch
        yield from _cut(mixed[:ready], batch)
        pool = [mixed[ready:]]
    if pool:
        yield from _cut(_mix(pool, generator), batch)


def buffer_bytes(size: int, d_in: int, part: int) -> int:
    """The most that `shuffled` holds: buffer and newest part twice (while mixing), float32."""
    return 2 * (size + part) * (4 * d_in + 8)


def _mix(pool: list[Rows], generator: torch.Generator) -> Rows:
    rows = Rows.cat(pool)
    return rows[torch.randperm(len(rows), generator=generator)]


def _cut(rows: Rows, batch: int) -> Iterator[Rows]:
    for first in range(0, len(rows), batch):
        yield rows[first : first + batch]
