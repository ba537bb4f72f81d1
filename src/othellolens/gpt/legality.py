"""How often the model would play a legal move, and how near it is to the uniform-legal oracle."""

from functools import reduce
from operator import add
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..errors import InputError
from ..othello import bitboards
from ..othello.boards import to_bits, to_tensor, unpack
from ..othello.games import Games
from ..shares import wilson
from .model import GPT
from .tokens import PAD, SQUARE_OF_TOKEN, tokens


class Legality(NamedTuple):
    """Sums over positions at which somebody can move, by ply; rates and means are derived."""

    positions: Int64[Tensor, " ply"]
    strict: Int64[Tensor, " ply"]
    """Top-1 predictions that are illegal for the side to move."""
    lenient: Int64[Tensor, " ply"]
    """Top-1 predictions that are illegal for both sides, as published engines count."""
    divergence: Float[Tensor, " ply"]
    """Summed KL(uniform over legal moves || model), nats."""

    def __add__(self, other: "Legality") -> "Legality":  # pyright: ignore
        return Legality(*(a + b for a, b in zip(self, other, strict=True)))

    def strict_rate(self) -> float:
        """Share of positions at which the top-1 prediction is illegal for the side to move."""
        return float(self.strict.sum() / self.positions.sum())

    def lenient_rate(self) -> float:
        """Share of positions at which the top-1 prediction is illegal for both sides."""
        return float(self.lenient.sum() / self.positions.sum())

    def interval(self, what: Literal["strict", "lenient"] = "strict") -> tuple[float, float]:
        """The 95 % interval of a rate, as if positions were independent (`wilson`)."""
        wrong = {"strict": self.strict, "lenient": self.lenient}[what]
        return wilson(int(wrong.sum()), int(self.positions.sum()))

    def kl(self) -> float:
        """Mean KL(uniform over legal moves || model), nats a position."""
        return float(self.divergence.sum() / self.positions.sum())

    def kl_by_ply(self) -> list[float]:
        """The same, ply by ply; ply t is the prediction of move t+1 from moves 0..t."""
        return (self.divergence / self.positions.clamp(min=1)).tolist()


@torch.no_grad()
def legality(model: GPT, games: Games, *, batch: int = 256) -> Legality:
    """Judge every next-move prediction of the model on `games`.

    Positions at which nobody can move do not count. The first move is never predicted.

    Raises:
        InputError: there are no games.
    """
    if not len(games):
        raise InputError("there are no games to judge the model on")
    parts = [
        _legality(model, games[first : first + batch]) for first in range(0, len(games), batch)
    ]
    return reduce(add, parts)


def _legality(model: GPT, games: Games) -> Legality:
    ids = tokens(games)[:, :-1]
    logits = model(ids.to(model.device)).float().cpu()
    return judge_logits(logits, games)


def judge_logits(logits: Float[Tensor, "game ply token"], games: Games) -> Legality:
    """The same for logits that somebody else computed; row t predicts move t+1."""
    plies = logits.shape[1]
    table = games.replay_table()
    legal = unpack(table.legal)[:, :plies, SQUARE_OF_TOKEN]
    other = to_tensor(bitboards.legal_moves(to_bits(table.theirs), to_bits(table.mine)))
    either = legal | unpack(other)[:, :plies, SQUARE_OF_TOKEN]
    legal[..., PAD] = either[..., PAD] = False
    number = legal.sum(-1)
    counted = number > 0
    top = logits.argmax(-1, keepdim=True)
    chosen = logits.where(legal, 0).sum(-1) / number.clamp(min=1)
    divergence = logits.logsumexp(-1) - chosen - number.clamp(min=1).log()
    return Legality(
        counted.sum(0),
        (counted & ~legal.gather(-1, top)[..., 0]).sum(0),
        (counted & ~either.gather(-1, top)[..., 0]).sum(0),
        (divergence * counted).double().sum(0),
    )
