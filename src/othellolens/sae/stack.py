"""Stacks: SAEs of one architecture and width as one, with batched products, and back."""

from collections.abc import Sequence

import torch

from .autoencoder import Recipe, SparseAutoencoder, Weights


def build_stack(
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    d_in: int,
    *,
    d_out: int | None = None,
    skip: bool = False,
) -> SparseAutoencoder:
    """Fresh SAEs as one; a single recipe gives an SAE without the member axis."""
    built = [
        recipe.build(d_in, d_out=d_out, skip=skip, seed=seed)
        for recipe, seed in zip(recipes, seeds, strict=True)
    ]
    return built[0] if len(built) == 1 else stacked(built)


def stacked(saes: Sequence[SparseAutoencoder]) -> SparseAutoencoder:
    """Several SAEs whose recipes agree in `static()` as one with a member axis in front."""
    skips = [sae.W_skip for sae in saes if sae.W_skip is not None]
    weights = Weights(
        torch.stack([sae.W_enc.detach() for sae in saes]),
        torch.stack([sae.W_dec.detach() for sae in saes]),
        torch.stack([skip.detach() for skip in skips]) if skips else None,
        saes[0].transcodes,
    )
    whole = type(saes[0])([sae.recipe for sae in saes], weights)
    own = whole.state_dict()
    for name, tensor in own.items():
        parts = [sae.state_dict()[name] for sae in saes]
        joined = torch.stack(parts) if tensor.dim() > parts[0].dim() else parts[0]
        tensor.copy_(joined)
    return whole


def member(whole: SparseAutoencoder, number: int) -> SparseAutoencoder:
    """One SAE of a stack, a copy."""
    if whole.members is None:
        return whole
    skip = None if whole.W_skip is None else whole.W_skip[number].detach().clone()
    weights = Weights(
        whole.W_enc[number].detach().clone(),
        whole.W_dec[number].detach().clone(),
        skip,
        whole.transcodes,
    )
    one = type(whole)([whole.recipes[number]], weights)
    source = whole.state_dict()
    for name, tensor in one.state_dict().items():
        joined = source[name]
        tensor.copy_(joined[number] if joined.dim() > tensor.dim() else joined)
    one.progress = whole.progress
    return one
