"""Compiled loops over the few entries of a batch that stay, beside the many that do not.

Entries lie as in a CSR matrix: those of row r are `starts[r]` to `starts[r + 1]` of `columns` and
`values`. A kernel takes a range of rows or features, so that threads share the work; each adds up
in the same order however many there are. Floats are compared as integers: for those above 0 the
order is the same, and all others are below.
"""

import numpy as np
from numpy.typing import NDArray

from ..compiled import F, compiled

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]
Longs = NDArray[np.int64]


def _compiled(function: F) -> F:
    return compiled(function, fastmath=True)


NEAR = 1 << 22
# As integers, floats that differ by a factor of about 1.5 lie so far apart.


@_compiled
def limits(z: Ints, k: int, limit: Ints, kept: Longs) -> None:
    """Of each row the least number that at most `k` entries exceed, and how many stay.

    Entries above the limit stay, and of those that equal it as many as are lacking. Rows are much
    alike: most of a row is put aside by the limit of the row before it.
    """
    able = np.empty(z.shape[1], dtype=np.int32)
    floor = np.int32(0)
    for row in range(z.shape[0]):
        number = 0
        for column in range(z.shape[1]):
            able[number] = z[row, column]
            number += z[row, column] > floor
        if number <= k and floor > 0:
            number = 0
            for column in range(z.shape[1]):
                able[number] = z[row, column]
                number += z[row, column] > 0
        kept[row] = min(k, number)
        limit[row] = _limit(able, number, k) if number > k else 0
        floor = max(np.int32(0), np.int32(limit[row] - NEAR))


@_compiled
def _limit(able: Ints, number: int, k: int) -> int:
    low, high = np.int64(0), np.int64(0)
    for place in range(number):
        high = max(high, np.int64(able[place]))
    while high - low > 1:
        middle = (low + high) // 2
        bound, above = np.int32(middle), 0
        for place in range(number):
            above += able[place] > bound
        if above > k:
            low = middle
        else:
            high = middle
            if above == k:
                break
    return int(high)


@_compiled
def counted(z: Ints, limit: int, kept: Longs) -> None:
    """How many entries of each row exceed one limit for all."""
    bound = np.int32(limit)
    for row in range(z.shape[0]):
        above = 0
        for column in range(z.shape[1]):
            above += z[row, column] > bound
        kept[row] = above


@_compiled
def histogram(z: Ints, floor: int, bins: Longs) -> None:
    """How many entries above `floor` have each value of their upper 16 bits, the lowest first."""
    bound = np.int32(floor)
    for row in range(z.shape[0]):
        for column in range(z.shape[1]):
            value = z[row, column]
            if value > bound:
                bins[(value >> 16) + 32768] += 1


@_compiled
def inside(z: Ints, floor: int, upper: int, bins: Longs) -> None:
    """How many of those with these upper 16 bits have each value of their lower ones."""
    bound, above = np.int32(floor), np.int32(upper)
    for row in range(z.shape[0]):
        for column in range(z.shape[1]):
            value = z[row, column]
            if value > bound and value >> 16 == above:
                bins[value & 65535] += 1


@_compiled
def collect(z: Ints, limit: Ints, starts: Longs, columns: Ints, values: Ints) -> None:
    """Put what stays of each row in its place."""
    for row in range(z.shape[0]):
        place, stop, bound = starts[row], starts[row + 1], limit[row]
        for column in range(z.shape[1]):
            if z[row, column] > bound:
                columns[place] = column
                values[place] = z[row, column]
                place += 1
        for column in range(z.shape[1]):
            if place == stop:
                break
            if z[row, column] == bound:
                columns[place] = column
                values[place] = z[row, column]
                place += 1


@_compiled
def rebuild(
    starts: Longs, columns: Ints, values: Floats, W_dec: Floats, out: Floats, first: int, stop: int
) -> None:
    """out[row] = sum of values x decoder rows."""
    for row in range(first, stop):
        out[row] = 0
        for entry in range(starts[row], starts[row + 1]):
            value, column = values[entry], columns[entry]
            for d in range(out.shape[1]):
                out[row, d] += value * W_dec[column, d]


@_compiled
def slopes(
    starts: Longs, columns: Ints, W_dec: Floats, grad: Floats, out: Floats, first: int, stop: int
) -> None:
    """out[entry] = the gradient of its row times its decoder row."""
    for row in range(first, stop):
        for entry in range(starts[row], starts[row + 1]):
            column, total = columns[entry], np.float32(0)
            for d in range(grad.shape[1]):
                total += grad[row, d] * W_dec[column, d]
            out[entry] = total


@_compiled
def by_feature(starts: Longs, columns: Ints, begin: Longs, entries: Ints, rows: Ints) -> None:
    """The entries of each feature, in the order of their rows; `begin` is moved to the ends."""
    for row in range(starts.shape[0] - 1):
        for entry in range(starts[row], starts[row + 1]):
            place = begin[columns[entry]]
            begin[columns[entry]] += 1
            entries[place] = entry
            rows[place] = row


@_compiled
def weights(
    ends: Longs, entries: Ints, rows: Ints, values: Floats, slope: Floats, x: Floats, grad: Floats,
    W_dec: Floats, W_enc: Floats, b_enc: Floats, first: int, stop: int,
) -> None:  # fmt: skip
    """Gradients of decoder rows, of encoder columns (as rows) and of b_enc, feature by feature."""
    for feature in range(first, stop):
        begin = ends[feature - 1] if feature else 0
        W_dec[feature] = 0
        W_enc[feature] = 0
        total = np.float32(0)
        for place in range(begin, ends[feature]):
            entry, row = entries[place], rows[place]
            value, steep = values[entry], slope[entry]
            total += steep
            for d in range(grad.shape[1]):
                W_dec[feature, d] += value * grad[row, d]
            for d in range(x.shape[1]):
                W_enc[feature, d] += steep * x[row, d]
        b_enc[feature] = total
