"""Checkpoints of the original Othello-GPT (Li et al. 2023), whose code descends from minGPT.

Matrices are those of nn.Linear, [out, in], the heads side by side: how many heads there are, the
file does not say. Layer norms have gains and biases (LN); the unembedding has no bias. The causal
`attn.mask` [1, 1, ply, ply] of each block is a buffer: dropped, and written again.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ...artifact import check_tensors
from ...errors import InputError
from ..model import GPT
from ..shape import PRESETS, GPTConfig
from .weights import axis, build, check_eps, check_numbers, check_vocabulary, layers, shape

_PUBLISHED = PRESETS["published"]
_QKV = {"Q": "query", "K": "key", "V": "value"}
_MASK = ".attn.mask"


def fits(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of this form."""
    return any(key == "tok_emb.weight" or key.endswith(".attn.query.weight") for key in tensors)


def read(what: str, tensors: Mapping[str, Tensor], n_heads: int | None = None) -> GPT:
    """The model as it was trained, not processed.

    Args:
        what: the file, for messages.
        tensors: by their names there.
        n_heads: attention heads a block; None for the 8 of the published shape.

    Raises:
        InputError: keys or shapes do not fit (all listed), a weight is not finite, or the number
            of heads is not known.
    """
    weights = {key: value for key, value in tensors.items() if not key.endswith(_MASK)}
    check_vocabulary(what, axis(weights, "tok_emb.weight", 0, 61))
    cfg = _shape(what, weights, n_heads)
    expected = {key: value for key, value in write(GPT(cfg)).items() if not key.endswith(_MASK)}
    check_tensors(what, weights, expected)
    check_numbers(what, weights)
    return build(what, cfg, _from_mingpt(weights, cfg))


def write(model: GPT) -> dict[str, Tensor]:
    """What the original code's load_state_dict reads strictly.

    Raises:
        InputError: the model has what this form has no place for: folded layer norms (LNPre) have
            lost their gains, and a bias of the unembedding.
    """
    state = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    if model.cfg.normalization != "LN" or bool(state["unembed.b_U"].any()):
        raise InputError(
            "this model's layer norms are folded or its unembedding has a bias, for which minGPT"
            " has no place: save it as transformerlens, or save the model as it was before folding"
        )
    check_eps(model, "minGPT")
    out = {
        "tok_emb.weight": state["embed.W_E"],
        "pos_emb": state["pos_embed.W_pos"][None],
        "ln_f.weight": state["ln_final.w"],
        "ln_f.bias": state["ln_final.b"],
        "head.weight": state["unembed.W_U"].T,
    }
    for layer in range(model.cfg.n_layers):
        out |= _block_to_mingpt(state, f"blocks.{layer}", model.cfg.n_ctx)
    return {key: value.contiguous() for key, value in out.items()}


def _block_to_mingpt(state: Mapping[str, Tensor], at: str, plies: int) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for norm in ("ln1", "ln2"):
        out[f"{at}.{norm}.weight"] = state[f"{at}.{norm}.w"]
        out[f"{at}.{norm}.bias"] = state[f"{at}.{norm}.b"]
    for letter, name in _QKV.items():
        out[f"{at}.attn.{name}.weight"] = state[f"{at}.attn.W_{letter}"].mT.flatten(0, 1)
        out[f"{at}.attn.{name}.bias"] = state[f"{at}.attn.b_{letter}"].flatten()
    out[f"{at}.attn.proj.weight"] = state[f"{at}.attn.W_O"].flatten(0, 1).T
    out[f"{at}.attn.proj.bias"] = state[f"{at}.attn.b_O"]
    out[f"{at}{_MASK}"] = torch.ones(1, 1, plies, plies).tril()
    for place, name in ((0, "in"), (2, "out")):
        out[f"{at}.mlp.{place}.weight"] = state[f"{at}.mlp.W_{name}"].T
        out[f"{at}.mlp.{place}.bias"] = state[f"{at}.mlp.b_{name}"]
    return out


def _from_mingpt(weights: Mapping[str, Tensor], cfg: GPTConfig) -> dict[str, Tensor]:
    head = weights["head.weight"]
    out = {
        "embed.W_E": weights["tok_emb.weight"],
        "pos_embed.W_pos": weights["pos_emb"][0],
        "ln_final.w": weights["ln_f.weight"],
        "ln_final.b": weights["ln_f.bias"],
        "unembed.W_U": head.T,
        "unembed.b_U": head.new_zeros(cfg.d_vocab),
    }
    for layer in range(cfg.n_layers):
        out |= _block_from_mingpt(weights, f"blocks.{layer}", (cfg.n_heads, cfg.d_head))
    return out


def _block_from_mingpt(
    weights: Mapping[str, Tensor], at: str, heads: tuple[int, int]
) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for norm in ("ln1", "ln2"):
        out[f"{at}.{norm}.w"] = weights[f"{at}.{norm}.weight"]
        out[f"{at}.{norm}.b"] = weights[f"{at}.{norm}.bias"]
    for letter, name in _QKV.items():
        out[f"{at}.attn.W_{letter}"] = weights[f"{at}.attn.{name}.weight"].unflatten(0, heads).mT
        out[f"{at}.attn.b_{letter}"] = weights[f"{at}.attn.{name}.bias"].unflatten(0, heads)
    out[f"{at}.attn.W_O"] = weights[f"{at}.attn.proj.weight"].T.unflatten(0, heads)
    out[f"{at}.attn.b_O"] = weights[f"{at}.attn.proj.bias"]
    for place, name in ((0, "in"), (2, "out")):
        out[f"{at}.mlp.W_{name}"] = weights[f"{at}.mlp.{place}.weight"].T
        out[f"{at}.mlp.b_{name}"] = weights[f"{at}.mlp.{place}.bias"]
    return out


def _shape(what: str, weights: Mapping[str, Tensor], n_heads: int | None) -> GPTConfig:
    width = axis(weights, "tok_emb.weight", 1, axis(weights, "head.weight", 1, _PUBLISHED.d_model))
    depth, d_mlp = max(1, layers(weights)), axis(weights, ".mlp.0.weight", 0, 4 * width)
    published = (_PUBLISHED.n_layers, _PUBLISHED.d_model, _PUBLISHED.d_mlp)
    if n_heads is None and (depth, width, d_mlp) != published:
        raise InputError(
            f"{what} does not say how many heads it has: load it with ol.load_gpt(..., n_heads=8),"
            " or as many as it has, and ol.save_as writes a folder that says it"
        )
    return shape(
        what,
        n_layers=depth,
        d_model=width,
        n_heads=_PUBLISHED.n_heads if n_heads is None else n_heads,
        d_mlp=d_mlp,
        normalization="LN",
        n_ctx=axis(weights, "pos_emb", 1, 59),
    )
