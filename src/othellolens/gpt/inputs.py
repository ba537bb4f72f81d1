"""What a model of a shape can read: refused here, before it is run."""

from torch import Tensor

from ..errors import InputError
from .shape import GPTConfig
from .tokens import PAD, check_tokens


def check_ids(cfg: GPTConfig, tokens: Tensor) -> None:
    """Refuse token ids that the model cannot read.

    Raises:
        InputError: an id or a length that the model does not have, padding before a move.
    """
    check_tokens(tokens)
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


def check_layers(cfg: GPTConfig, **given: int | None) -> None:
    """Refuse a layer that the model does not have; negative ones count from the end.

    Raises:
        InputError: naming the argument.
    """
    for name, layer in given.items():
        if layer is not None and not -cfg.n_layers <= layer <= cfg.n_layers:
            raise InputError(f"{name} {layer}: this model has {cfg.n_layers} layers")


def check_stream(cfg: GPTConfig, resid: Tensor) -> None:
    """Refuse a residual stream that the model cannot go on from.

    Raises:
        InputError: it is of another shape.
    """
    shape = tuple(resid.shape)
    if len(shape) != 3 or shape[1] > cfg.n_ctx or shape[2] != cfg.d_model:
        raise InputError(
            "start_at_layer takes a residual stream [game, ply, d_model], of this model at most"
            f" {cfg.n_ctx} plies of {cfg.d_model}, not {list(shape)}"
        )
