"""The original Othello-GPT from a minGPT state dict: its names, its layout, its equations.

Written from the key table of the published conversion (TransformerLens, demos/Othello_GPT) with
torch's own linear and layer norm functions; it shares nothing with `othellolens.gpt`.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


def random_state(*, layers: int, width: int, mlp: int, seed: int) -> dict[str, Tensor]:
    """Random weights with the names and shapes of the original, masks included."""
    chance = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return 0.3 * torch.randn(*shape, generator=chance)

    state = {"tok_emb.weight": draw(61, width), "pos_emb": draw(1, 59, width)}
    for at in (f"blocks.{layer}" for layer in range(layers)):
        for norm in ("ln1", "ln2"):
            state |= {f"{at}.{norm}.weight": 1 + draw(width), f"{at}.{norm}.bias": draw(width)}
        for name in ("query", "key", "value", "proj"):
            state[f"{at}.attn.{name}.weight"] = draw(width, width)
            state[f"{at}.attn.{name}.bias"] = draw(width)
        state[f"{at}.attn.mask"] = torch.ones(1, 1, 59, 59).tril()
        state |= {f"{at}.mlp.0.weight": draw(mlp, width), f"{at}.mlp.0.bias": draw(mlp)}
        state |= {f"{at}.mlp.2.weight": draw(width, mlp), f"{at}.mlp.2.bias": draw(width)}
    state |= {"ln_f.weight": 1 + draw(width), "ln_f.bias": draw(width)}
    return state | {"head.weight": draw(61, width)}


def logits(ids: Tensor, state: Mapping[str, Tensor], heads: int) -> Tensor:
    """[game, ply, token]."""

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])

    games, plies = ids.shape
    x = F.embedding(ids, state["tok_emb.weight"]) + state["pos_emb"][:, :plies]
    layers = sum(key.endswith("attn.mask") for key in state)
    for at in (f"blocks.{layer}" for layer in range(layers)):
        read = norm(x, f"{at}.ln1")
        q, k, v = (
            linear(read, f"{at}.attn.{name}").view(games, plies, heads, -1).transpose(1, 2)
            for name in ("query", "key", "value")
        )
        scores = (q @ k.transpose(-2, -1)) / k.shape[-1] ** 0.5
        seen = state[f"{at}.attn.mask"][:, :, :plies, :plies]
        pattern = scores.masked_fill(seen == 0, float("-inf")).softmax(-1)
        z = (pattern @ v).transpose(1, 2).reshape(games, plies, -1)
        x = x + linear(z, f"{at}.attn.proj")
        inner = F.gelu(linear(norm(x, f"{at}.ln2"), f"{at}.mlp.0"))
        x = x + linear(inner, f"{at}.mlp.2")
    return linear(norm(x, "ln_f"), "head")
