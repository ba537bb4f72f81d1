"""Features that never fire: counting them, and giving them a new start."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .autoencoder import SparseAutoencoder


class Silence:
    """For how many rows each feature has been silent."""

    def __init__(self, width: int, device: torch.device) -> None:
        self.rows = torch.zeros(width, dtype=torch.int64, device=device)

    def see(self, features: Float[Tensor, "position feature"]) -> None:
        """Count a batch."""
        self.rows += len(features)
        self.rows[(features > 0).any(0)] = 0

    def longer_than(self, rows: int) -> Bool[Tensor, " feature"]:
        """Which features have been silent for at least `rows` rows."""
        return self.rows >= rows


@torch.no_grad()
def resample(
    sae: SparseAutoencoder,
    dead: Bool[Tensor, " feature"],
    x: Float[Tensor, "position d_in"],
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> int:
    """Point dead features at inputs that the SAE reconstructs badly (Bricken et al. 2023).

    Inputs are drawn with probability proportional to their squared loss. The decoder row becomes
    the unit vector of the input's error, the encoder column the same at 0.2 times the mean norm of
    the living, the bias 0; the moments of the optimiser for these weights are reset.

    Returns:
        How many features were resampled.
    """
    where = dead.nonzero()[:, 0]
    if not len(where):
        return 0
    error = x - sae.decode(sae.encode(x))
    weight = error.pow(2).sum(1).pow(2).cpu()
    drawn = torch.multinomial(weight, len(where), replacement=True, generator=generator)
    directions = error[drawn.to(x.device)]
    directions /= directions.norm(dim=1, keepdim=True).clamp(min=1e-12)
    alive = ~dead
    size = sae.W_enc[:, alive].norm(dim=0).mean() if bool(alive.any()) else torch.ones(())
    sae.W_dec[where] = directions
    sae.W_enc[:, where] = 0.2 * size * directions.T
    sae.b_enc[where] = 0
    for weight, index in (
        (sae.W_dec, where),
        (sae.b_enc, where),
        (sae.W_enc, (slice(None), where)),
    ):
        for moment in optimizer.state[weight].values():
            if moment.shape == weight.shape:
                moment[index] = 0
    return len(where)
