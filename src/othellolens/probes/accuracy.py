"""How often a board probe is right, beside what guessing without a model reaches."""

from typing import NamedTuple

import torch
from torch import Tensor

from ..activations.rows import read_rows, same_rows
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.boards import Boards
from ..othello.games import Games
from .linear import LinearProbe, classes


class Accuracy(NamedTuple):
    """Shares of what was guessed right."""

    cell: float
    """Of all squares of all positions."""
    board: float
    """Of positions, all 64 squares right."""


def probe_accuracy(probe: LinearProbe, model: GPT, site: Site, games: Games) -> Accuracy:
    """Accuracy of the probe's most likely class on every position that the model can read."""
    return _accuracy(_guesses(probe, model, site, games), classes(_readable(model, games)))


def marginal_accuracy(model: GPT, train: Games, held: Games) -> Accuracy:
    """Accuracy of the most frequent class of each square at each ply, counted on `train`.

    The baseline that needs no activations ("probabilistic" in Nanda et al. 2023).
    """
    seen = _readable(model, train)
    counts = torch.zeros(model.cfg.n_ctx, 3, 64)
    counts.index_add_(0, seen.at[:, 1].long(), seen.squares().float())
    held_boards = _readable(model, held)
    return _accuracy(counts.argmax(1)[held_boards.at[:, 1].long()], classes(held_boards))


def _readable(model: GPT, games: Games) -> Boards:
    boards = games.replay()
    return boards[boards.at[:, 1] < model.cfg.n_ctx]


def _guesses(probe: LinearProbe, model: GPT, site: Site, games: Games) -> Tensor:
    at: list[Tensor] = []
    guesses: list[Tensor] = []
    for rows in read_rows(model, site, games):
        at.append(rows.at)
        with torch.no_grad():
            guesses.append(probe.logits(rows.x).argmax(1).cpu())
    same_rows(_readable(model, games).at, torch.cat(at))
    return torch.cat(guesses)


def _accuracy(guesses: Tensor, truth: Tensor) -> Accuracy:
    right = guesses == truth
    return Accuracy(float(right.float().mean()), float(right.all(1).float().mean()))
