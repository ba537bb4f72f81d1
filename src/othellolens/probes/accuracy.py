"""How often a board probe is right, by square and ply, beside what guessing reaches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..activations.reader import Reader
from ..activations.rows import site_rows
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.games import Games
from .board import BoardProbe
from .labels import BoardLabels, Convention, Plies
from .probe import UNKNOWN, warn_elsewhere


@dataclass(frozen=True)
class Accuracy:
    """What was guessed right, counted over positions of held-out games."""

    right: Int64[Tensor, "ply 64"]
    """Positions of a ply at which the guess of a square is right."""
    boards: Int64[Tensor, " ply"]
    """Positions of a ply at which all 64 are."""
    positions: Int64[Tensor, " ply"]
    by_game: Int64[Tensor, "game 3"]
    """Squares right, boards right and positions of each game."""

    @property
    def cell(self) -> float:
        """Share of all squares of all positions."""
        return float(self.right.sum() / (64 * self.positions.sum()))

    @property
    def board(self) -> float:
        """Share of positions, all 64 squares right."""
        return float(self.boards.sum() / self.positions.sum())

    def by_square(self) -> Float[Tensor, " 64"]:
        """Share of positions at which each square is right."""
        return self.right.sum(0) / self.positions.sum()

    def by_ply(self) -> tuple[Float[Tensor, " ply"], Float[Tensor, " ply"]]:
        """Shares of cells and of boards that are right at each ply; NaN where there is none."""
        return self.right.sum(1) / (64 * self.positions), self.boards / self.positions

    def interval(
        self, what: str = "cell", *, draws: int = 1000, seed: int = 0
    ) -> tuple[float, ...]:
        """A 95 % interval of `cell` or `board` by bootstrap over games."""
        column, size = {"cell": (0, 64), "board": (1, 1)}[what]
        values = self.by_game[:, [column, 2]].double()
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(values), (draws, len(values)), generator=generator)
        right, positions = values[drawn].sum(1).unbind(1)
        edges = torch.tensor([0.025, 0.975]).double()
        return tuple((right / (size * positions)).quantile(edges).tolist())

    def to_dict(self) -> dict[str, float]:
        """The two shares."""
        return {"cell": self.cell, "board": self.board}


def probe_accuracy(
    probe: BoardProbe,
    model: GPT,
    site: Site,
    games: Games,
    *,
    labels: Convention = "rules",
    back: int = 0,
    plies: Plies = "all",
) -> Accuracy:
    """Accuracy of the probe's most likely class on every position that the model can read.

    Raises:
        InputError: the model has no such site, or its vectors are not as wide as the probe's.
    """
    return probe_accuracies([(site, probe)], model, games, labels=labels, back=back, plies=plies)[0]


@torch.no_grad()
def probe_accuracies(
    probes: Sequence[tuple[Site, BoardProbe]],
    model: GPT,
    games: Games,
    *,
    labels: Convention = "rules",
    back: int = 0,
    plies: Plies = "all",
    batch: int = 64,
    watch: Callable[[int], object] = lambda _: None,
) -> list[Accuracy]:
    """The same for several probes, in one pass through the model.

    Args:
        probes: each with the site at which it reads.
        model: the player.
        games: held-out games.
        labels: what is right: see `Convention`.
        back: plies before the position whose board is right.
        plies: at which plies to ask.
        batch: games at a time.
        watch: called with the number of games after each batch.

    Raises:
        InputError: there are no games, or a probe reads vectors of another width.
    """
    for site, probe in probes:
        warn_elsewhere(probe, site)
        if probe.d_in != model.width(site):
            raise InputError(
                f"the probe reads vectors of {probe.d_in}, but {site} of this model has"
                f" {model.width(site)}: use the site that it was fitted at"
            )
    if not len(games):
        raise InputError("there are no games to test on")
    truth = BoardLabels(games, labels=labels, back=back, plies=plies)
    reader = Reader(model, tuple(dict.fromkeys(site for site, _ in probes)), batch=batch)
    parts: list[list[Tensor]] = [[] for _ in probes]
    labelled: list[Tensor] = []
    at: list[Tensor] = []
    for first in range(0, len(games), batch):
        rows = site_rows(reader, games[first : first + batch], first=first)
        at.append(rows.at)
        labelled.append(truth.of(rows.at))
        for (site, probe), found in zip(probes, parts, strict=True):
            found.append(probe.guess(probe.logits(rows.x[site])).cpu() == labelled[-1])
        watch(min(batch, len(games) - first))
    known = torch.cat(labelled)[:, 0] != UNKNOWN
    return [_count(torch.cat(found), known, torch.cat(at), len(games)) for found in parts]


def marginal_accuracy(model: GPT, train: Games, held: Games) -> Accuracy:
    """Accuracy of the most frequent class of each square at each ply, counted on `train`.

    The baseline that needs no activations ("probabilistic" in Nanda et al. 2023).

    Raises:
        InputError: there are no games to count, or none to test on.
    """
    if not len(train) or not len(held):
        raise InputError("there are no games to count on, or none to test on")
    square = 3 * torch.arange(64)
    counts = torch.zeros(model.cfg.n_ctx * 64 * 3, dtype=torch.int64)
    for first in range(0, len(train), 1024):
        seen, at = _labelled(model, train[first : first + 1024])
        cell = 192 * at[:, 1:].long() + square + seen
        counts += torch.bincount(cell.flatten(), minlength=len(counts))
    truth, at = _labelled(model, held)
    right = counts.view(-1, 64, 3).argmax(2)[at[:, 1].long()] == truth
    return _count(right, torch.ones(len(right), dtype=torch.bool), at, len(held))


def _labelled(model: GPT, games: Games) -> tuple[Tensor, Tensor]:
    boards = games.replay()
    at = boards.at[boards.at[:, 1] < model.cfg.n_ctx]
    return BoardLabels(games).of(at), at


def _count(
    right: Bool[Tensor, "position 64"], known: Bool[Tensor, " position"], at: Tensor, games: int
) -> Accuracy:
    right, (game, ply) = right[known].long(), at[known].long().unbind(1)
    whole, one = right.all(1).long(), torch.ones(len(right), dtype=torch.int64)
    plies = int(at[:, 1].max()) + 1

    def add(values: Tensor, by: Tensor, size: int) -> Tensor:
        return torch.zeros(size, *values.shape[1:], dtype=torch.int64).index_add_(0, by, values)

    per_row = torch.stack([right.sum(1), whole, one], 1)
    return Accuracy(
        add(right, ply, plies),
        add(whole, ply, plies),
        add(one, ply, plies),
        add(per_row, game, games),
    )
