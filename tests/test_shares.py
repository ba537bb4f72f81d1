"""The interval of a share against the definition that it solves, and published values."""

import pytest

from othellolens.shares import wilson

SEEN = [(0, 300), (5, 10), (299, 300), (10, 10), (337, 117_937)]


@pytest.mark.parametrize(("hits", "count"), SEEN)
def test_from_either_end_what_was_seen_is_1_96_deviations(hits: int, count: int) -> None:
    for end in wilson(hits, count):
        variance = end * (1 - end) / count
        assert (hits / count - end) ** 2 == pytest.approx(1.959964**2 * variance, abs=1e-12)


def test_known_values() -> None:
    """5 of 10: Brown, Cai and DasGupta 2001; nothing of nothing says nothing."""
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
