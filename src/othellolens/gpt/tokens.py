"""Tokens: the only place that knows the 61-token numbering of the published Othello-GPT models.

0 is padding; the 60 playable squares follow in the order of their numbers, the centre left out:
square s is token s+1 (s <= 26), s-1 (29..34), s-3 (s >= 37). So f5 = square 44 = token 41.
"""

import torch
from jaxtyping import Int8, Int64
from torch import Tensor

from ..errors import InputError
from ..othello.games import Games
from ..othello.squares import NO_MOVE, PLAYABLE, name

PAD = 0
VOCABULARY = 61
CONTEXT = 59
"""Moves that the model reads: the last of 60 is only ever predicted."""

SQUARE_OF_TOKEN = torch.tensor([NO_MOVE, *PLAYABLE])
"""[61]: square of each token, -1 for padding."""
TOKEN_OF_SQUARE = torch.full((65,), -1)
TOKEN_OF_SQUARE[SQUARE_OF_TOKEN] = torch.arange(VOCABULARY)
"""[65]: token of each square, -1 for those of the centre; the last, for -1, is padding."""


def tokens(games: Games) -> Int64[Tensor, "game ply"]:
    """The games as token ids, 0 after the end of a game.

    Raises:
        InputError: a move is not a playable square.
    """
    squares = games.moves.long()
    ids = TOKEN_OF_SQUARE[squares.clamp(-1, 63)]
    if bool(((ids < 0) | (squares > 63) | (squares < -1)).any()):
        game, ply = ((ids < 0) | (squares > 63) | (squares < -1)).nonzero()[0].tolist()
        square = int(squares[game, ply])
        what = name(square) if 0 <= square < 64 else str(square)
        raise InputError(f"game {game}, ply {ply}: {what} is no playable square and has no token")
    return ids


def token_of(square: int) -> int:
    """The token of a move.

    Raises:
        InputError: no such square, or one of the centre, where no move is made.
    """
    if not 0 <= square < 64:
        raise InputError(f"square {square}: squares are 0 to 63")
    if int(TOKEN_OF_SQUARE[square]) < 0:
        raise InputError(f"{name(square)} is of the centre: no move is made there")
    return int(TOKEN_OF_SQUARE[square])


def squares(ids: Int64[Tensor, "game ply"]) -> Int8[Tensor, "game ply"]:
    """Token ids as squares, -1 for padding; the inverse of `tokens`.

    Raises:
        InputError: an id outside 0..60.
    """
    check_tokens(ids)
    return SQUARE_OF_TOKEN[ids].to(torch.int8)


def check_tokens(ids: Tensor, vocabulary: int = VOCABULARY) -> None:
    """Refuse ids that the vocabulary lacks.

    Raises:
        InputError: an id outside 0..60, or below 0 or from `vocabulary` on.
    """
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= vocabulary):
        bad = int(ids[(ids < 0) | (ids >= vocabulary)][0])
        raise InputError(
            f"token {bad} is outside the vocabulary (0..{vocabulary - 1}); if these are squares"
            " (0..63), make tokens of them with ol.tokens(games)"
        )
