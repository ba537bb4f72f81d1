"""A small model whose every number matters."""

from typing import Literal

import torch

from othellolens.gpt.model import GPT
from othellolens.gpt.shape import GPTConfig


def tiny_model(normalization: Literal["LN", "LNPre"] = "LNPre", seed: int = 0) -> GPT:
    """Two layers, d_model 32, weights and biases drawn so that none is left at 0 or 1."""
    shape = GPTConfig(n_layers=2, d_model=32, n_heads=4, d_mlp=64, normalization=normalization)
    model = GPT(shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model.eval()
