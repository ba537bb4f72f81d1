"""AuxK (Gao et al. 2024, https://arxiv.org/abs/2406.04093, appendix A.2).

The k_aux = d_out / 2 dead features that come nearest to firing rebuild what is left over, e. Its
loss is |e - e^|^2 relative to the variance of e; it counts `aux` times, where the reconstruction
loss counts as a fraction of variance too, that is d_out for inputs of mean norm sqrt(d_out).
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def aux_k(
    z: Float[Tensor, "... position feature"],
    left_over: Float[Tensor, "... position d_out"],
    W_dec: Float[Tensor, "... feature d_out"],
    dead: Bool[Tensor, "... feature"],
) -> Float[Tensor, "..."]:
    """The loss of the dead features, one value a member; 0 where none is dead.

    Args:
        z: what the features see, before a ReLU would cut it: dead ones seldom clear zero.
        left_over: y - y^.
        W_dec: the decoder.
        dead: which features count as dead.
    """
    left_over = left_over.detach()
    if z.dim() == 3:
        members = zip(z, left_over, W_dec, dead, strict=True)
        return torch.stack([_aux_k(*member) for member in members])
    return _aux_k(z, left_over, W_dec, dead)


def _aux_k(z: Tensor, left_over: Tensor, W_dec: Tensor, dead: Tensor) -> Tensor:
    number, d_out = int(dead.sum()), left_over.shape[1]
    if not number:
        return left_over.new_zeros(())
    weak = z[:, dead]
    kept = weak.topk(min(max(1, d_out // 2), number), dim=1)
    chosen = torch.zeros_like(weak).scatter(1, kept.indices, kept.values)
    error = ((chosen @ W_dec[dead]).float() - left_over).pow(2).sum(1).mean()
    spread = (left_over - left_over.mean(0)).pow(2).sum(1).mean()
    return d_out * error / spread.clamp(min=1e-12)
