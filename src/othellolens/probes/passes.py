"""The pass test: after a pass, does a probe read the true mover, or the parity of the move?

Othello-GPT is never told of passes: a move list just goes on with the same player. By the rules
"mine" are the discs of the player who moves next; by the published convention they go by the parity
of the ply, which is another player's after every odd number of passes. Where the two disagree, what
is mine by one is theirs by the other, so that a probe's colours side with one of them, cell by
cell.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..activations.rows import read_rows, same_rows
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello import truth
from ..othello.boards import Boards
from ..othello.games import Games
from ..othello.squares import NO_MOVE
from .board import BoardProbe, by_parity, classes

SINCE = {"0": (0, 0), "1": (1, 1), "2-4": (2, 4), "5 and more": (5, 60), "all": (0, 60)}
"""Plies since the pass, by name."""


@dataclass(frozen=True)
class Sides:
    """Whose side a probe takes at the positions where rules and parity disagree, game by game."""

    rules: Int64[Tensor, "game since"]
    """Filled cells of disputed positions whose colour is read as the rules have it."""
    filled: Int64[Tensor, "game since"]
    """Filled cells of disputed positions; the others are read as parity has it."""
    undisputed: float
    """Share of filled cells whose colour is right, at positions that both agree on, of the plies
    at which others are disputed, in the same proportions."""
    positions: int
    """Disputed positions."""

    def share(self, since: str = "all") -> float | None:
        """Share of the disputed cells that are read as the rules have them; None of no cells."""
        column = list(SINCE).index(since)
        filled = int(self.filled[:, column].sum())
        return int(self.rules[:, column].sum()) / filled if filled else None

    def interval(
        self, since: str = "all", *, draws: int = 1000, seed: int = 0
    ) -> tuple[float, ...]:
        """Its 95 % interval by bootstrap over the games that have disputed positions."""
        column = list(SINCE).index(since)
        rules, filled = self.rules[:, column].double(), self.filled[:, column].double()
        kept = filled > 0
        rules, filled = rules[kept], filled[kept]
        if not len(rules):
            raise InputError("no game has such a position: take more games")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randint(len(rules), (draws, len(rules)), generator=generator)
        shares = rules[drawn].sum(1) / filled[drawn].sum(1)
        low, high = shares.quantile(torch.tensor([0.025, 0.975]).double()).tolist()
        return low, high


def before_first_pass(games: Games) -> Games:
    """The games cut before the first position whose mover is not the one that parity says.

    On these positions the two conventions are one, so a probe fitted on them sides with neither.
    """
    turns = truth.turns(games.replay())
    moves = games.moves.clone()
    for game, ply in turns.at[turns.passed].flip(0).tolist():
        moves[game, ply - 1 :] = NO_MOVE  # the position before the move is disputed already
    return Games(moves, f"{games.origin}, before their first pass")


def disputed(boards: Boards) -> Bool[Tensor, " position"]:
    """Where the side to move is not the one that the number of moves says; not where it is over."""
    return (by_parity(boards).black != boards.black) & (boards.legal() != 0)


def plies_since(boards: Boards) -> Int64[Tensor, " position"]:
    """Plies since the last pass; a large number where there was none. Boards are whole games."""
    passed = (truth.turns(boards).black == boards.black) & (boards.legal() != 0)
    game, ply = boards.at.long().unbind(1)
    last = torch.where(passed, ply, -1000) + 10_000 * game
    return ply + 10_000 * game - last.cummax(0).values


@torch.no_grad()
def sides(probe: BoardProbe, model: GPT, site: Site, games: Games) -> Sides:
    """Read all positions with a probe, and see whose side it takes.

    Args:
        probe: fitted at this site, by either convention.
        model: the player.
        site: where to read it.
        games: with passes, or there is nothing to see.
    """
    boards = games.replay()
    since = plies_since(boards)
    readable = boards.at[:, 1] < model.cfg.n_ctx
    boards, since = boards[readable], since[readable]
    colours = _colours(probe, model, site, games, boards)
    right, filled = colours == (classes(boards) == 0), classes(boards) != 2
    apart = disputed(boards)
    if not bool(apart.any()):
        raise InputError("no position of these games follows an odd number of passes: take more")
    shape = (len(games), len(SINCE))
    rules, cells = (torch.zeros(shape, dtype=torch.int64) for _ in range(2))
    for column, (low, high) in enumerate(SINCE.values()):
        chosen = apart & (since >= low) & (since <= high)
        game = boards.at[chosen, 0].long()
        rules[:, column].index_add_(0, game, (right & filled)[chosen].sum(1))
        cells[:, column].index_add_(0, game, filled[chosen].sum(1))
    return Sides(rules, cells, _matched(right & filled, filled, apart, boards), int(apart.sum()))


def _colours(
    probe: BoardProbe, model: GPT, site: Site, games: Games, boards: Boards
) -> Bool[Tensor, "position 64"]:
    """Whether mine is likelier than theirs, square by square."""
    found: list[Tensor] = []
    at: list[Tensor] = []
    for rows in read_rows(model, site, games):
        logits = probe.logits(rows.x)
        found.append((logits[:, 0] > logits[:, 1]).cpu())
        at.append(rows.at)
    same_rows(boards.at, torch.cat(at))
    return torch.cat(found)


def _matched(right: Tensor, filled: Tensor, apart: Tensor, boards: Boards) -> float:
    """Share right where both agree, weighted by how often each ply is disputed."""
    ply = boards.at[:, 1].long()
    weight = torch.bincount(ply[apart], minlength=60).double()
    agreed = ~apart & (boards.legal() != 0)
    hits, cells = (_by_ply(x, ply, agreed) for x in (right, filled))
    known = (cells > 0) & (weight > 0)
    shares: Float[Tensor, " ply"] = hits[known] / cells[known]
    return float((shares * weight[known]).sum() / weight[known].sum())


def _by_ply(cells: Tensor, ply: Tensor, chosen: Tensor) -> Tensor:
    return torch.zeros(60).double().index_add_(0, ply[chosen], cells[chosen].sum(1).double())
