"""Rows: activation vectors with the place in the game at which each was read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..gpt.tokens import tokens
from ..othello.games import Games
from ..othello.squares import NO_MOVE
from .reader import Reader

_NAMED = 5
# Bad rows that a message names.


@dataclass(frozen=True)
class Rows:
    """Vectors read at one site. Row (g, t): the model has read moves 0..t of game g."""

    at: Int32[Tensor, "position 2"]
    """(game, ply)."""
    x: Float[Tensor, "position d_in"]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Tensor) -> "Rows":
        return Rows(self.at[rows], self.x[rows])

    @staticmethod
    def cat(parts: list["Rows"]) -> "Rows":
        """One after the other."""
        return Rows(torch.cat([p.at for p in parts]), torch.cat([p.x for p in parts]))


@dataclass(frozen=True)
class SiteRows:
    """Vectors of the same moments, read at one site or several."""

    at: Int32[Tensor, "position 2"]
    """(game, ply)."""
    x: Mapping[Site, Float[Tensor, "position _"]]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, rows: slice | Tensor) -> "SiteRows":
        return SiteRows(self.at[rows], {site: x[rows] for site, x in self.x.items()})

    @staticmethod
    def cat(parts: list["SiteRows"]) -> "SiteRows":
        """One after the other, all of the same sites; one part alone is not copied."""
        if len(parts) == 1:
            return parts[0]
        x = {site: torch.cat([part.x[site] for part in parts]) for site in parts[0].x}
        return SiteRows(torch.cat([part.at for part in parts]), x)

    def of(self, site: Site) -> Rows:
        """The rows of one site.

        Raises:
            InputError: it was not read.
        """
        if site not in self.x:
            raise InputError(f"{site} was not read, only {', '.join(map(str, self.x))}: add it")
        return Rows(self.at, self.x[site])


def not_finite(at: Int32[Tensor, "position 2"], x: Float[Tensor, "position _"]) -> str | None:
    """Which rows hold a NaN or an infinity, in words, the first few by name; None if none does."""
    bad = (~torch.isfinite(x)).any(1).nonzero()[:, 0].cpu()
    if not len(bad):
        return None
    places = ", ".join(f"game {game} ply {ply}" for game, ply in at[bad[:_NAMED]].tolist())
    more = f" and {len(bad) - _NAMED:,} more" if len(bad) > _NAMED else ""
    return f"{len(bad):,} of {len(x):,} rows are NaN or infinite: {places}{more}"


def same_rows(a: Int32[Tensor, "position 2"], b: Int32[Tensor, "row 2"]) -> None:
    """The row rule: two tensors indexed by position may meet only where their (game, ply) agree.

    Raises:
        InputError: they differ.
    """
    if a.shape != b.shape or not torch.equal(a, b):
        raise InputError(
            f"{len(a)} and {len(b)} rows of different (game, ply) cannot be compared:"
            " take both from the same games"
        )


def read_rows(
    model: GPT, site: Site, games: Games, *, batch: int = 64, reader: Reader | None = None
) -> Iterator[Rows]:
    """The activations at `site`, one `Rows` per `batch` games, in order; padding left out.

    Memory: one batch of the model's activations and of rows, `batch` x 59 x d_in floats.

    Args:
        model: the player.
        site: where to read.
        games: what to play through it.
        batch: games a forward pass.
        reader: of this model and site, if not a plain one: with it go precision and compilation.

    Raises:
        InputError: the model does not have this site; the reader is of another model or site.
    """
    reader = reader or Reader(model, site, batch=batch)
    reader.check_reads(model, (site,))
    for first in range(0, len(games), batch):
        yield site_rows(reader, games[first : first + batch], first=first).of(site)


def site_rows(reader: Reader, games: Games, *, first: int = 0) -> SiteRows:
    """What a reader reads of some games, padding left out; `first` is the first game's number.

    Raises:
        InputError: a move is not a playable square, or the model cannot read such games.
    """
    grids = reader.read(tokens(games)[:, : reader.model.cfg.n_ctx])
    played = games.moves[:, : reader.model.cfg.n_ctx] != NO_MOVE
    at = played.nonzero().to(torch.int32)
    at[:, 0] += first
    there = played.to(reader.model.device)
    return SiteRows(at, {site: grid[there] for site, grid in grids.items()})
