"""Lens: a model, a site and an encoder; games in, features and boards out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .activations.rows import read_rows, same_rows
from .concepts import ConceptSet
from .encoder import Encoder
from .errors import InputError
from .gpt.model import GPT
from .gpt.sites import Site
from .othello.boards import Boards
from .othello.games import Games


@dataclass(frozen=True)
class Read:
    """What a lens sees of some positions: boards, activations and features of the same rows."""

    boards: Boards
    x: Float[Tensor, "position d_in"]
    features: Float[Tensor, "position feature"]

    def facts(self, concepts: ConceptSet) -> Bool[Tensor, "position concept"]:
        """Which concepts hold at these positions."""
        return concepts.of(self.boards)


@runtime_checkable
class Reads(Protocol):
    """What a judge needs: boards and features of the same rows, some games at a time."""

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        """Every position that can be read, in order, `batch` games at a time."""
        ...


@dataclass(frozen=True)
class Lens:
    """Looks at what passes a site of a model through an encoder."""

    model: GPT
    site: Site
    encoder: Encoder
    watch: Callable[[int], object] = lambda _: None
    """Called with the number of games after each batch that was read."""

    def __post_init__(self) -> None:
        width = self.model.width(self.site)
        if self.encoder.d_in not in (None, width):
            raise InputError(
                f"the encoder reads vectors of {self.encoder.d_in}, but {self.site} of this"
                f" model has {width}: use the site that the encoder was made for"
            )

    @property
    def target(self) -> Site:
        """Where what the encoder rebuilds lies: its own site, but for a transcoder."""
        name = self.encoder.metadata.get("hook_name_out")
        return Site.parse(name) if name else self.site

    @property
    def width(self) -> int:
        """Number of features."""
        nothing = self.model.unembed.W_U.new_zeros(1, self.model.width(self.site))
        with torch.no_grad():
            return self.encoder.encode(nothing).shape[1]

    def read(self, games: Games, *, batch: int = 64) -> Iterator[Read]:
        """Every position that the model can read, in order, `batch` games at a time."""
        self.encoder.eval()
        for first in range(0, len(games), batch):
            part = games[first : first + batch]
            boards = _numbered(part.replay(), first, self.model.cfg.n_ctx)
            for rows in read_rows(self.model, self.site, part, batch=batch):
                same_rows(boards.at - torch.tensor([first, 0], dtype=torch.int32), rows.at)
                with torch.no_grad():
                    yield Read(boards, rows.x, self.encoder.encode(rows.x))
            self.watch(len(part))


def _numbered(boards: Boards, first: int, plies: int) -> Boards:
    """The boards within the model's context, games numbered from `first`."""
    kept = boards[boards.at[:, 1] < plies]
    kept.at[:, 0] += first
    return kept
