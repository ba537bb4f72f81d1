"""A part of a source: the windows that one process of several reads."""

from collections.abc import Mapping

from ..errors import InputError
from ..gpt.sites import Site
from .rows import SiteRows
from .sources import Source


class Part:
    """Every n-th window of a source, so that processes that train together share the reading."""

    def __init__(self, source: Source, rank: int, size: int) -> None:
        """Make a part.

        Args:
            source: of the rows.
            rank: which process this is, from 0.
            size: how many there are.

        Raises:
            InputError: there are fewer windows than processes.
        """
        if source.windows < size:
            raise InputError(
                f"{source.windows} windows cannot be shared by {size} processes: take smaller"
                " windows or more games"
            )
        self.source, self.numbers = source, range(rank, source.windows, size)

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the rows were read."""
        return self.source.sites

    @property
    def widths(self) -> Mapping[Site, int]:
        """Length of the vectors at each site."""
        return self.source.widths

    @property
    def model_name(self) -> str:
        """Whose activations they are."""
        return self.source.model_name

    @property
    def origin(self) -> str:
        """Where the games are from."""
        return self.source.origin

    @property
    def windows(self) -> int:
        """Windows in one pass through the part."""
        return len(self.numbers)

    def games_in(self, number: int) -> int:
        """Games of a window; reads no activations."""
        return self.source.games_in(self.numbers[number])

    def rows_in(self, number: int) -> int:
        """Rows of a window; reads no activations."""
        return self.source.rows_in(self.numbers[number])

    def window(self, number: int) -> SiteRows:
        """The rows of a window in the order of (game, ply)."""
        return self.source.window(self.numbers[number])
