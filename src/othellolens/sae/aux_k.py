"""AuxK (Gao et al. 2024, https://arxiv.org/abs/2406.04093, appendix A.2).

The k_aux = d_out / 2 dead features that come nearest to firing rebuild what is left over, e. Its
loss is |e - e^|^2 relative to the variance of e; it counts `aux` times, where the reconstruction
loss counts as a fraction of variance too, that is d_out for inputs of mean norm sqrt(d_out).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .autoencoder import SparseAutoencoder


def aux_k(
    sae: SparseAutoencoder,
    x: Float[Tensor, "... position d_in"],
    left_over: Float[Tensor, "... position d_out"],
    dead: Bool[Tensor, "... feature"],
) -> Float[Tensor, "..."]:
    """The loss of the dead features, one value a member; 0 where none is dead.

    Args:
        sae: with W_enc, b_enc, W_dec and b_dec.
        x: what it reads.
        left_over: y - y^.
        dead: which features count as dead.
    """
    left_over, b_enc = left_over.detach(), sae.b_enc
    if not bool(dead.any()):
        return left_over.new_zeros(left_over.shape[:-2])
    centred = sae.centred(x)
    if sae.members is None:
        return _aux_k(centred, left_over, sae.W_enc, b_enc, sae.W_dec, dead)  # pyright: ignore
    every = centred.expand(sae.members, *centred.shape[-2:])
    parts = zip(every, left_over, sae.W_enc, b_enc, sae.W_dec, dead, strict=True)  # pyright: ignore
    return torch.stack([_aux_k(*part) for part in parts])


def _aux_k(
    x: Tensor, left_over: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, dead: Tensor
) -> Tensor:
    number, d_out = int(dead.sum()), left_over.shape[1]
    if not number:
        return left_over.new_zeros(())
    # What they see before a ReLU would cut it: dead features seldom clear zero.
    weak = encoded(x, W_enc[:, dead], b_enc[dead])
    kept = weak.topk(min(max(1, d_out // 2), number), dim=1)
    chosen = torch.zeros_like(weak).scatter(1, kept.indices, kept.values)
    error = ((chosen @ W_dec[dead]).float() - left_over).pow(2).sum(1).mean()
    spread = (left_over - left_over.mean(0)).pow(2).sum(1).mean()
    return d_out * error / spread.clamp(min=1e-12)


def encoded(x: Tensor, W_enc: Tensor, b_enc: Tensor) -> Tensor:
    """What features see."""
    return x @ W_enc + b_enc
