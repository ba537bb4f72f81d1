"""Othello-GPT, slow and obvious: one game, one ply, one head at a time, from its weights alone.

Written from the equations (Radford et al. 2019); it shares nothing with `othellolens.gpt`. The
parameters are named, and lie, as in TransformerLens' HookedTransformer.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

Weights = Mapping[str, Tensor]


def layer_norm(x: Tensor, weights: Weights, name: str, eps: float) -> Tensor:
    """Of one vector; with gain and bias where the model has them."""
    centred = x - x.sum() / len(x)
    normal = centred / torch.sqrt((centred * centred).sum() / len(x) + eps)
    if f"{name}.w" in weights:
        normal = normal * weights[f"{name}.w"] + weights[f"{name}.b"]
    return normal


def attention(normal: list[Tensor], weights: Weights, name: str) -> list[Tensor]:
    """What each ply's vector gets from the plies up to it."""

    def part(letter: str, head: int, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.W_{letter}"][head] + weights[f"{name}.b_{letter}"][head]

    heads = len(weights[f"{name}.W_Q"])
    out = []
    for ply in range(len(normal)):
        total = weights[f"{name}.b_O"].clone()
        for head in range(heads):
            query = part("Q", head, normal[ply])
            scores = []
            for earlier in range(ply + 1):
                key = part("K", head, normal[earlier])
                scores.append(float((query * key).sum()) / len(query) ** 0.5)
            largest = max(scores)
            raw = [torch.exp(torch.tensor(s - largest, dtype=query.dtype)) for s in scores]
            mixed = torch.zeros_like(query)
            for earlier, weight in enumerate(raw):
                mixed = mixed + weight / sum(raw) * part("V", head, normal[earlier])
            total = total + mixed @ weights[f"{name}.W_O"][head]
        out.append(total)
    return out


def mlp(x: Tensor, weights: Weights, name: str) -> Tensor:
    pre = x @ weights[f"{name}.W_in"] + weights[f"{name}.b_in"]
    gelu = 0.5 * pre * (1 + torch.erf(pre / 2**0.5))
    return gelu @ weights[f"{name}.W_out"] + weights[f"{name}.b_out"]


def logits(ids: list[int], weights: Weights, *, layers: int, eps: float = 1e-5) -> Tensor:
    """[ply, d_vocab] of one game."""
    stream = [
        weights["embed.W_E"][token] + weights["pos_embed.W_pos"][ply]
        for ply, token in enumerate(ids)
    ]
    for layer in range(layers):
        block = f"blocks.{layer}"
        normal = [layer_norm(x, weights, f"{block}.ln1", eps) for x in stream]
        attended = attention(normal, weights, f"{block}.attn")
        stream = [x + y for x, y in zip(stream, attended, strict=True)]
        normal = [layer_norm(x, weights, f"{block}.ln2", eps) for x in stream]
        stream = [x + mlp(n, weights, f"{block}.mlp") for x, n in zip(stream, normal, strict=True)]
    final = [layer_norm(x, weights, "ln_final", eps) for x in stream]
    return torch.stack([x @ weights["unembed.W_U"] + weights["unembed.b_U"] for x in final])
