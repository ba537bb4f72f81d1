"""Legality by ply and phase: illegal top moves, KL to the oracle, and where probability lies."""

from functools import reduce
from operator import add
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from ...gpt.legality import Legality, judge_logits
from ...gpt.tokens import CONTEXT, PAD, SQUARE_OF_TOKEN, tokens
from ...othello.boards import unpack
from ...othello.games import Games
from ...othello.squares import NO_MOVE
from .players import BATCH, EPSILON, Player, chances, check_epsilon
from .watching import Watch, quiet

PHASES = {"opening": slice(0, 20), "middle": slice(20, 40), "end": slice(40, 59)}
"""Plies t of the prediction of move t+1 from moves 0..t, moves counted from 0."""


class Behaviour(NamedTuple):
    """Sums over positions at which somebody can move, by ply; rates are derived.

    A move is *accepted* where its probability is above epsilon. Illegal moves are all other squares
    of the 60 that have a token; padding is no move, but its probability is not legal mass.
    """

    positions: Int64[Tensor, " ply"]
    strict: Int64[Tensor, " ply"]
    """Top-1 predictions that are illegal for the side to move."""
    lenient: Int64[Tensor, " ply"]
    """Top-1 predictions that are illegal for both sides."""
    divergence: Float[Tensor, " ply"]
    """Summed KL(uniform over legal moves || player), nats."""
    mass: Float[Tensor, " ply"]
    """Summed probability of the legal moves."""
    legal: Int64[Tensor, " ply"]
    """How many legal moves there were."""
    legal_accepted: Int64[Tensor, " ply"]
    illegal: Int64[Tensor, " ply"]
    """How many squares were no legal move."""
    illegal_accepted: Int64[Tensor, " ply"]

    def __add__(self, other: "Behaviour") -> "Behaviour":  # pyright: ignore
        return Behaviour(*(a + b for a, b in zip(self, other, strict=True)))

    def during(self, phase: str) -> "Behaviour":
        """The plies of one of `PHASES` alone."""
        return Behaviour(*(column[PHASES[phase]] for column in self))

    def rates(self) -> dict[str, float]:
        """Means over positions (`strict`, `lenient`, `kl`, `mass`) and over moves (the rest)."""
        sums = {name: float(column.sum()) for name, column in self._asdict().items()}
        count = sums["positions"]
        return {
            "strict": _ratio(sums["strict"], count),
            "lenient": _ratio(sums["lenient"], count),
            "kl": _ratio(sums["divergence"], count),
            "mass": _ratio(sums["mass"], count),
            "legal_accepted": _ratio(sums["legal_accepted"], sums["legal"]),
            "illegal_accepted": _ratio(sums["illegal_accepted"], sums["illegal"]),
        }


def behaviour(
    player: Player, games: Games, *, epsilon: float = EPSILON, watch: Watch = quiet
) -> Behaviour:
    """Judge every next-move prediction of a player on `games`.

    Raises:
        InputError: there are no games, or `epsilon` is out of range.
    """
    check_epsilon(epsilon)
    games = Games(
        F.pad(games.moves, (0, CONTEXT + 1 - games.moves.shape[1]), value=NO_MOVE), games.origin
    )
    parts: list[Behaviour] = [_nothing()]
    for first in range(0, len(games), BATCH):
        part = games[first : first + BATCH]
        parts.append(_judge(player(tokens(part)[:, :-1]), part, epsilon))
        watch("legality", first + len(part), len(games))
    return reduce(add, parts)


def _judge(logits: Tensor, games: Games, epsilon: float) -> Behaviour:
    judged: Legality = judge_logits(logits, games)
    legal = unpack(games.replay_table().legal)[:, : logits.shape[1], SQUARE_OF_TOKEN]
    legal[..., PAD] = False
    asked = legal.any(-1, keepdim=True)
    illegal = asked & ~legal
    illegal[..., PAD] = False
    chance = chances(logits)
    accepted = chance > epsilon
    return Behaviour(
        *judged,
        (chance * legal).double().sum((0, 2)),
        *(which.sum((0, 2)) for which in (legal, legal & accepted, illegal, illegal & accepted)),
    )


def _nothing() -> Behaviour:
    plies = PHASES["end"].stop
    whole, real = torch.zeros(plies, dtype=torch.int64), torch.zeros(plies, dtype=torch.float64)
    return Behaviour(whole, whole, whole, real, real, whole, whole, whole, whole)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
