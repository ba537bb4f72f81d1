"""Weight processing: other weights, same function (log-probabilities), easier to read.

Each step returns a new model and leaves the given one alone. The equations are those of
TransformerLens' weight processing, which made the published `synthetic_model.pth`. Activations do
change, so that probes and SAEs belong to the model that they were made on; its name says what was
done to it. Sums are taken in double precision.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from ..errors import InputError
from .model import GPT
from .shape import GPTConfig


def fold_layer_norm(model: GPT) -> GPT:
    """Move gain and bias of every layer norm into the weights that read from it: LN -> LNPre.

    W' = w W and b' = b_ln W + b; then W' is centred over d_model, since what it reads has mean 0.

    Raises:
        InputError: the model has no gains (LNPre): they have been folded already.
    """
    if model.cfg.normalization != "LN":
        raise InputError("this model's layer norms have no gain or bias (LNPre): nothing to fold")

    def fold(state: dict[str, Tensor]) -> None:
        for layer in range(model.cfg.n_layers):
            block = f"blocks.{layer}"
            for part in "QKV":
                _fold(state, f"{block}.ln1", f"{block}.attn.W_{part}", f"{block}.attn.b_{part}")
            _fold(state, f"{block}.ln2", f"{block}.mlp.W_in", f"{block}.mlp.b_in")
        _fold(state, "ln_final", "unembed.W_U", "unembed.b_U")
        for key in [key for key in state if ".ln" in key or key.startswith("ln_")]:
            del state[key]

    return _changed(model, "fold_layer_norm", fold, replace(model.cfg, normalization="LNPre"))


def center_writing_weights(model: GPT) -> GPT:
    """Take from all that writes into the stream its mean over d_model, which no layer norm sees."""

    def center(state: dict[str, Tensor]) -> None:
        writers = ("W_E", "W_pos", "W_O", "b_O", "W_out", "b_out")
        for key, value in state.items():
            if key.rpartition(".")[2] in writers:
                state[key] = value - value.mean(-1, keepdim=True)

    return _changed(model, "center_writing_weights", center)


def center_unembed(model: GPT) -> GPT:
    """Take from W_U and b_U their mean over the vocabulary: logits change by a constant a ply."""

    def center(state: dict[str, Tensor]) -> None:
        for key in ("unembed.W_U", "unembed.b_U"):
            state[key] = state[key] - state[key].mean(-1, keepdim=True)

    return _changed(model, "center_unembed", center)


def fold_value_biases(model: GPT) -> GPT:
    """Move b_V through W_O into b_O: a pattern sums to 1, so every query gets b_V whole."""

    def fold(state: dict[str, Tensor]) -> None:
        for layer in range(model.cfg.n_layers):
            attn = f"blocks.{layer}.attn"
            value, out = state[f"{attn}.b_V"], state[f"{attn}.W_O"]
            state[f"{attn}.b_O"] = state[f"{attn}.b_O"] + torch.einsum("hd,hdm->m", value, out)
            state[f"{attn}.b_V"] = torch.zeros_like(value)

    return _changed(model, "fold_value_biases", fold)


def processed(model: GPT) -> GPT:
    """All four steps, in the order of TransformerLens' load_and_process_state_dict.

    A model whose gains are folded already (LNPre) goes through the other three.
    """
    folded = fold_layer_norm(model) if model.cfg.normalization == "LN" else model
    return fold_value_biases(center_unembed(center_writing_weights(folded)))


def _fold(state: dict[str, Tensor], norm: str, weight: str, bias: str) -> None:
    # W [(head) d_model out]: d_model is the last axis but one.
    old, gain, shift = state[weight], state[f"{norm}.w"], state[f"{norm}.b"]
    state[bias] = state[bias] + (old * shift[:, None]).sum(-2)
    new = old * gain[:, None]
    state[weight] = new - new.mean(-2, keepdim=True)


def _changed(
    model: GPT,
    step: str,
    change: Callable[[dict[str, Tensor]], None],
    cfg: GPTConfig | None = None,
) -> GPT:
    state = {key: value.detach().double() for key, value in model.state_dict().items()}
    change(state)
    weight = model.unembed.W_U
    other = GPT(cfg or model.cfg).to(weight.device, weight.dtype)
    other.load_state_dict(state)
    other.name = f"{model.name}, {step}"
    return other.train(model.training)
