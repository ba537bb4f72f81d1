"""What a model of a shape can read: refused here, before it is run."""

from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .shape import GPTConfig
from .tokens import PAD, check_tokens


def check_ids(cfg: GPTConfig, tokens: Any) -> None:
    """Refuse token ids that the model cannot read: [game, ply], or [ply] of one game.

    Raises:
        InputError: no tensor of integers, an id or a length that the model does not have, padding
            before a move.
    """
    given = type(tokens).__name__
    if isinstance(tokens, Tensor):
        given = f"{str(tokens.dtype).removeprefix('torch.')} {list(tokens.shape)}"
    if (
        not isinstance(tokens, Tensor)
        or tokens.dtype not in (torch.int64, torch.int32)
        or tokens.dim() not in (1, 2)
    ):
        raise InputError(
            f"a model reads token ids, an int64 tensor [game, ply], not {given}: pass"
            " ol.tokens(games)[:, :-1]"
        )
    tokens = tokens[None] if tokens.dim() == 1 else tokens
    check_tokens(tokens, cfg.d_vocab)
    if tokens.shape[1] > 1 and bool(((tokens[:, :-1] == PAD) & (tokens[:, 1:] != PAD)).any()):
        hole = ((tokens[:, :-1] == PAD) & (tokens[:, 1:] != PAD)).nonzero()[0].tolist()
        raise InputError(
            f"game {hole[0]}, ply {hole[1]}: padding (0) before a move; padding belongs behind"
            " the last move, and a pass is not written"
        )
    if tokens.shape[1] > cfg.n_ctx:
        raise InputError(
            f"{tokens.shape[1]} plies, but the model reads at most {cfg.n_ctx}:"
            " pass ol.tokens(games)[:, :-1]"
        )


def check_layers(cfg: GPTConfig, **given: Any) -> None:
    """Refuse a layer that the model does not have; negative ones count from the end.

    Raises:
        InputError: naming the argument.
    """
    for name, layer in given.items():
        if layer is not None and (not isinstance(layer, int) or isinstance(layer, bool)):
            raise InputError(f"{name} is the number of a layer, not {layer!r}")
        if layer is not None and not -cfg.n_layers <= layer <= cfg.n_layers:
            raise InputError(f"{name} {layer}: this model has {cfg.n_layers} layers")


def check_stream(cfg: GPTConfig, resid: Tensor) -> None:
    """Refuse a residual stream that the model cannot go on from.

    Raises:
        InputError: it is of another shape.
    """
    shape = tuple(resid.shape)
    if (
        not resid.is_floating_point()
        or len(shape) != 3
        or shape[1] > cfg.n_ctx
        or shape[2] != cfg.d_model
    ):
        raise InputError(
            "start_at_layer takes a residual stream [game, ply, d_model], of this model at most"
            f" {cfg.n_ctx} plies of {cfg.d_model}, not {resid.dtype} {list(shape)}"
        )
