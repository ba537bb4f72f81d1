"""Sources of rows: the activations of many games, one window of games at a time."""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, runtime_checkable

import torch

from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.games import Games
from .reader import Reader
from .rows import SiteRows, not_finite, site_rows


@runtime_checkable
class Source(Protocol):
    """Rows of a set of games at some sites, cut into windows that are read one by one.

    A window is read anew each time that it is asked for, always to the same bits.
    """

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where the rows were read."""
        ...

    @property
    def widths(self) -> Mapping[Site, int]:
        """Length of the vectors at each site."""
        ...

    @property
    def model_name(self) -> str:
        """Whose activations they are."""
        ...

    @property
    def origin(self) -> str:
        """Where the games are from."""
        ...

    @property
    def windows(self) -> int:
        """Windows in one pass through the games."""
        ...

    def games_in(self, number: int) -> int:
        """Games of a window; reads no activations."""
        ...

    def rows_in(self, number: int) -> int:
        """Rows of a window; reads no activations."""
        ...

    def window(self, number: int) -> SiteRows:
        """The rows of a window in the order of (game, ply), float32; games count over the set."""
        ...


class Played:
    """A source that plays games through a model.

    Memory: one window of rows, `rows_in` x (the sum of the widths) x 4 bytes, and one forward pass.
    """

    def __init__(
        self,
        model: GPT,
        sites: Site | Sequence[Site],
        games: Games,
        *,
        window: int = 4096,
        batch: int = 64,
        precision: Literal["fp32", "bf16"] = "fp32",
        compiled: bool = False,
    ) -> None:
        """Make a source.

        Args:
            model: the player; its weights must stay as they are.
            sites: where to read; several are read in one forward pass.
            games: what to play through it.
            window: games a window, at most: they are shared out evenly, so that no window is a
                small rest, which could not be mixed.
            batch: games a forward pass.
            precision: see `Reader`.
            compiled: see `Reader`.

        Raises:
            InputError: the model does not have a site, or `window` or `batch` is not positive.
        """
        if window < 1:
            raise InputError(f"a window has at least 1 game, not {window}")
        self.reader = Reader(model, sites, precision=precision, compiled=compiled, batch=batch)
        self.model, self.games = model, games
        self.sites = self.reader.sites
        self.widths: Mapping[Site, int] = {site: model.width(site) for site in self.sites}
        self._cuts = _cuts(len(games), window)
        self._rows = [
            int(games[start:stop].lengths().clamp(max=model.cfg.n_ctx).sum())
            for start, stop in self._cuts
        ]

    @property
    def model_name(self) -> str:
        """Whose activations they are."""
        return self.model.name

    @property
    def origin(self) -> str:
        """Where the games are from."""
        return self.games.origin

    @property
    def windows(self) -> int:
        """Windows in one pass through the games."""
        return len(self._cuts)

    def games_in(self, number: int) -> int:
        """Games of a window."""
        check_window(self, number)
        start, stop = self._cuts[number]
        return stop - start

    def rows_in(self, number: int) -> int:
        """Rows of a window: the moves that the model reads."""
        check_window(self, number)
        return self._rows[number]

    def window(self, number: int) -> SiteRows:
        """The rows of a window, on the model's device.

        Raises:
            InputError: no such window; activations are NaN or infinite, with their site, games and
                plies; a game cannot be read.
        """
        check_window(self, number)
        (start, stop), rows, device = self._cuts[number], self._rows[number], self.model.device
        at = torch.empty(rows, 2, dtype=torch.int32)
        x = {s: torch.empty(rows, width, device=device) for s, width in self.widths.items()}
        done = 0
        # Each part goes straight to its place: joined at the end, a window would be held twice.
        for first in range(start, stop, self.reader.batch):
            games = self.games[first : min(first + self.reader.batch, stop)]
            part = site_rows(self.reader, games, first=first)
            at[done : done + len(part)] = part.at
            for site in self.sites:
                x[site][done : done + len(part)] = part.x[site]
            done += len(part)
        return _finite(SiteRows(at, x))


def check_window(source: Source, number: int) -> None:
    """Refuse a window that a source does not have.

    Raises:
        InputError: saying which there are.
    """
    if not 0 <= number < source.windows:
        raise InputError(f"window {number}: there are {source.windows}, counted from 0")


def _cuts(count: int, window: int) -> list[tuple[int, int]]:
    windows = -(-count // window)
    borders = [count * i // windows for i in range(windows + 1)] if windows else [0]
    return list(zip(borders[:-1], borders[1:], strict=True))


def _finite(rows: SiteRows) -> SiteRows:
    for site, x in rows.x.items():
        if wrong := not_finite(rows.at, x):
            raise InputError(
                f"{site}: {wrong}; look for such weights in the model, and read it in fp32 if this"
                " was bf16"
            )
    return rows
