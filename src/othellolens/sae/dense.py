"""The encoder's dense product: the choke point of every architecture that is not sparse.

z = (x - b_dec) W_enc + offset costs a training step two products, the product itself and W_enc's
gradient. Plain autograd makes a third: the gradient of what is encoded, of which only the sum over
positions is wanted, for b_dec. That sum is W_enc times the summed gradient of z, one vector.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def seen(
    x: Float[Tensor, "... position d_in"],
    W_enc: Float[Tensor, "... d_in feature"],
    b_dec: Float[Tensor, "... d_in"] | None,
    offset: Float[Tensor, "... feature"] | None,
) -> Float[Tensor, "... position feature"]:
    """(x - b_dec) W_enc + offset, without what is None.

    Under autocast it is rounded once, with the offset in it: bfloat16 is enough for a ReLU, not for
    choosing the largest.
    """
    if b_dec is not None:
        still = b_dec.detach()
        x = x - still[..., None, :]
        if torch.is_grad_enabled() and b_dec.requires_grad:
            # Nothing, but its gradient in b_dec is that of the whole product.
            nothing = ((still - b_dec)[..., None, :] @ W_enc).squeeze(-2)
            offset = nothing if offset is None else offset + nothing
    if offset is None:
        return x @ W_enc
    if not torch.is_autocast_enabled(x.device.type):
        return x @ W_enc + offset[..., None, :]
    if W_enc.dim() == 2 and x.dim() == 2:
        return torch.addmm(offset, x, W_enc)
    if W_enc.dim() == 3 and x.dim() <= 3:
        return torch.baddbmm(offset[:, None, :], x.expand(len(W_enc), *x.shape[-2:]), W_enc)
    return (x @ W_enc + offset[..., None, :]).bfloat16()


def activity(values: Tensor, positions: int) -> Float[Tensor, "..."]:
    """Summed over features, mean over positions, in float32.

    Args:
        values: [..., position, feature], or [entry], the rest being 0.
        positions: how many there are.
    """
    sums = values.sum(-1, dtype=torch.float32)
    return sums.mean(-1) if values.dim() > 1 else sums / positions
