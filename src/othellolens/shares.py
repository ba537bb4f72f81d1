"""How sure a share is that was counted on independent draws."""

import math

_Z = 1.959964
# Standard deviations: 95 % of a normal distribution lie within.


def wilson(hits: int, count: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927); all that there is, where nothing was counted."""
    if not count:
        return 0.0, 1.0
    share = hits / count
    middle = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    wide = _Z / (1 + _Z**2 / count)
    wide *= math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(0.0, middle - wide), min(1.0, middle + wide)
