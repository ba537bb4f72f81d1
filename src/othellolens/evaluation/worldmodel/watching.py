"""How a long measurement tells how far it is."""

from collections.abc import Callable

Watch = Callable[[str, int, int], object]
"""Called with what is under way, how far it is, and how far it has to go."""


def quiet(what: str, done: int, total: int) -> None:
    """Watch nothing."""
