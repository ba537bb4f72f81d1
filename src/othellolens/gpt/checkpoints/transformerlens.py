"""State dicts of TransformerLens' HookedTransformer, e.g. the published `synthetic_model.pth`.

Their names are ours; the shape is read off the tensors. Each block has two buffers more, the causal
`mask` and the `IGNORE` score, which hold no weights: they are dropped, and written again.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..model import GPT
from ..shape import GPTConfig
from .weights import axis, build, check_eps, check_vocabulary, layers, shape

_BUFFERS = (".attn.mask", ".attn.IGNORE")


def fits(tensors: Mapping[str, Tensor]) -> bool:
    """Whether the names are those of this form."""
    return any(key == "embed.W_E" or key.endswith(".attn.W_Q") for key in tensors)


def read(what: str, tensors: Mapping[str, Tensor]) -> GPT:
    """The model, with layer norm weights (LN) or without (LNPre) as it was saved.

    Raises:
        InputError: keys or shapes do not fit (all listed), or a weight is not finite.
    """
    weights = {key: value for key, value in tensors.items() if not key.endswith(_BUFFERS)}
    check_vocabulary(what, axis(weights, "embed.W_E", 0, 61))
    return build(what, _shape(what, weights), weights)


def write(model: GPT) -> dict[str, Tensor]:
    """What HookedTransformer.load_state_dict reads strictly, for the same shape.

    Raises:
        InputError: the model has another eps than TransformerLens gives to all.
    """
    check_eps(model, "transformerlens")
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    plies = model.cfg.n_ctx
    for layer in range(model.cfg.n_layers):
        seen = torch.ones(plies, plies, dtype=torch.bool).tril()
        state[f"blocks.{layer}.attn.mask"] = seen
        state[f"blocks.{layer}.attn.IGNORE"] = torch.tensor(float("-inf"))
    return state


def _shape(what: str, weights: Mapping[str, Tensor]) -> GPTConfig:
    width = axis(weights, "embed.W_E", 1, axis(weights, "unembed.W_U", 0, 512))
    heads = axis(weights, ".attn.W_Q", 0, 8)
    return shape(
        what,
        n_layers=max(1, layers(weights)),
        d_model=width,
        n_heads=heads,
        d_mlp=axis(weights, ".mlp.W_in", 1, 4 * width),
        normalization="LN" if any(key.startswith("ln_final.") for key in weights) else "LNPre",
        n_ctx=axis(weights, "pos_embed.W_pos", 0, 59),
    )
