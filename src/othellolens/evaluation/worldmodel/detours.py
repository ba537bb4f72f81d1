"""Detours: a player plays on by itself, and now and then another legal move is forced on it.

Vafa et al. 2024 (https://arxiv.org/abs/2406.03689), section 3.4; for Othello their appendix D,
table 4. With probability `share` a step the player's top move is replaced by a legal one: a random
one other than its own ("random", where there is another; so does their code, while their text does
not say), or the legal one that it finds least likely ("adversarial"). What counts is the share of
games that reach their end without an illegal move. A game begins with the first `opening` moves of
a recorded one, since without detours a greedy player would play only one game; the paper does not
say how theirs begin. The game ends where the rules end it, not where the player says so.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ...errors import InputError
from ...gpt.tokens import CONTEXT, PAD, SQUARE_OF_TOKEN
from ...othello.games import Games
from .agreement import histories
from .players import Player, last_logits, legal_tokens
from .positions import Positions
from .watching import Watch, quiet

Kind = Literal["random", "adversarial"]
OPENING = 4
_CHUNK = 1024


class Detours(NamedTuple):
    """Counts of games and moves; they add."""

    games: int
    finished: int
    """Games without an illegal move to their end."""
    moves: int
    """Moves that the player made itself."""
    illegal: int
    """Those of them that broke the rules, one a game at most."""

    def __add__(self, other: "Detours") -> "Detours":  # pyright: ignore
        return Detours(*(a + b for a, b in zip(self, other, strict=True)))

    def legal_games(self) -> float:
        """Share of games that stay legal to their end; nan where there are none."""
        return self.finished / self.games if self.games else float("nan")


def beginnings(games: Games, opening: int = OPENING) -> int:
    """How many different openings `games` have: without detours no more different games are played.

    Those that are over by then do not count.
    """
    going = games.moves[games.lengths() > opening, :opening]
    return len(going.unique(dim=0))


def detours(
    player: Player,
    games: Games,
    *,
    share: float,
    kind: Kind = "random",
    opening: int = OPENING,
    seed: int = 0,
    watch: Watch = quiet,
) -> Detours:
    """Let a player finish games under detours; its own moves are its most likely ones.

    Args:
        player: who plays on.
        games: each gives its first moves; those that are over by then do not count.
        share: probability of a detour at each step.
        kind: what is forced.
        opening: how many moves are given, at least 1.
        seed: of steps and moves of the detours.
        watch: called with how many moves are made.

    Raises:
        InputError: `share` is no probability, or `opening` is out of range.
    """
    if not 0 <= share <= 1 or not 1 <= opening <= CONTEXT:
        raise InputError(f"share must be 0 to 1 and opening 1 to {CONTEXT}: {share}, {opening}")
    chance, found = torch.Generator().manual_seed(seed), Detours(0, 0, 0, 0)
    game = (games.lengths() > opening).nonzero()[:, 0]
    for part in game.split(_CHUNK):
        at = torch.stack([part, torch.full_like(part, opening - 1)], 1).to(torch.int32)
        ids = histories(games, at, CONTEXT + 1)
        found += _play_on(player, ids, opening, share, kind, chance, watch)
    return found


def _play_on(
    player: Player,
    ids: Int64[Tensor, "game ply"],
    opening: int,
    share: float,
    kind: Kind,
    chance: torch.Generator,
    watch: Watch,
) -> Detours:
    stand = Positions.start(len(ids))
    for column in SQUARE_OF_TOKEN[ids[:, :opening]].unbind(1):
        stand = stand.play(column)
    count, moves = len(ids), 0
    finished = illegal = 0
    for ply in range(opening, CONTEXT + 1):
        chosen, own = _choose(last_logits(player, ids), legal_tokens(stand), share, kind, chance)
        moves += int(own.sum())
        ids[:, ply] = chosen
        stand = stand.play(SQUARE_OF_TOKEN[chosen])
        wrong = torch.from_numpy(stand.broken) | (chosen == PAD)
        over = torch.from_numpy(stand.over) & ~wrong
        illegal, finished = illegal + int(wrong.sum()), finished + int(over.sum())
        going = ~(wrong | over)
        ids, stand = ids[going], stand[going.nonzero()[:, 0].numpy()]
        watch("detours", ply + 1, CONTEXT + 1)
        if not len(ids):
            break
    return Detours(count, finished, moves, illegal)


def _choose(
    logits: Float[Tensor, "game token"],
    legal: Bool[Tensor, "game token"],
    share: float,
    kind: Kind,
    chance: torch.Generator,
) -> tuple[Int64[Tensor, " game"], Bool[Tensor, " game"]]:
    """A token for each game, and whether the player chose it itself."""
    own = logits.argmax(-1)
    forced = torch.rand(len(logits), generator=chance) < share
    draw = torch.rand(logits.shape, generator=chance)
    if kind == "adversarial":
        other = logits.masked_fill(~legal, float("inf")).argmin(-1)
    else:
        rest = legal.scatter(1, own[:, None], False)
        rest = rest.where(rest.any(-1, keepdim=True), legal)
        other = draw.masked_fill(~rest, -1).argmax(-1)
    return other.where(forced, own), ~forced
