"""Players: anything that turns the tokens of games into logits; a model, or the rules themselves.

A player is called with token ids [game, ply] and answers with logits [game, ply, 61], row t
predicting move t+1 from moves 0..t alone (it is causal, so that padding on the right is harmless).
What it *accepts* after a history are the moves to which it gives a probability above epsilon;
Vafa et al. 2024 (https://arxiv.org/abs/2406.03689, section 3.2) take epsilon = 0.01.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ...errors import InputError
from ...gpt.model import GPT
from ...gpt.tokens import PAD, SQUARE_OF_TOKEN, squares
from ...othello.boards import to_tensor, unpack
from .positions import Positions

Player: TypeAlias = Callable[[Int64[Tensor, "game ply"]], Float[Tensor, "game ply token"]]

EPSILON = 0.01
MOST_MOVES = 33
"""No reachable position is known to have more legal moves: below 1/33 the oracle accepts all."""
BATCH = 256
"""Histories that a player is asked about at a time."""


def player_of(model: GPT) -> Player:
    """A model as a player: logits in float32 on the CPU, without gradients."""

    @torch.no_grad()
    def play(ids: Int64[Tensor, "game ply"]) -> Float[Tensor, "game ply token"]:
        return model(ids.to(model.device)).float().cpu()

    return play


def oracle(ids: Int64[Tensor, "game ply"]) -> Float[Tensor, "game ply token"]:
    """The player that knows the rules: uniform over the legal moves.

    Where nobody can move, and after an illegal move, all its probability lies on padding, so that
    it accepts nothing.
    """
    moves = squares(ids)
    positions = Positions.start(len(ids))
    rows: list[Tensor] = []
    for ply in range(ids.shape[1]):
        positions = positions.play(moves[:, ply])
        rows.append(legal_tokens(positions))
    legal = torch.stack(rows, 1)
    legal[..., PAD] = ~legal.any(-1)
    return torch.zeros(legal.shape).masked_fill(~legal, float("-inf"))


def legal_tokens(positions: Positions) -> Bool[Tensor, "game token"]:
    """Which tokens are legal moves; padding never is."""
    legal = unpack(to_tensor(positions.legal))[:, SQUARE_OF_TOKEN]
    legal[:, PAD] = False
    return legal


def check_epsilon(epsilon: float) -> None:
    """Refuse a threshold that the oracle itself would not pass.

    Raises:
        InputError: `epsilon` is not above 0 and below 1/33.
    """
    if not 0 < epsilon < 1 / MOST_MOVES:
        raise InputError(f"epsilon must be above 0 and below 1/{MOST_MOVES}: got {epsilon}")


def chances(logits: Float[Tensor, "*shape token"]) -> Float[Tensor, "*shape token"]:
    """Probabilities of the moves; padding, which is no move, gets 0 but keeps its share."""
    found = logits.softmax(-1)
    found[..., PAD] = 0
    return found


def last_logits(player: Player, ids: Int64[Tensor, "game ply"]) -> Float[Tensor, "game token"]:
    """What a player says after each history, equal histories asked once.

    Args:
        player: whom to ask.
        ids: histories of at least one move, filled with padding on the right.
    """
    distinct, back = ids.unique(dim=0, return_inverse=True)
    lengths = (distinct != PAD).sum(1)
    order = lengths.argsort(stable=True)
    answers: list[Tensor] = [torch.empty(0, SQUARE_OF_TOKEN.numel())]
    for first in range(0, len(order), BATCH):
        rows = order[first : first + BATCH]
        logits = player(distinct[rows, : int(lengths[rows].max())])
        answers.append(logits[torch.arange(len(rows)), lengths[rows] - 1])
    return torch.cat(answers)[order.argsort()[back]]
