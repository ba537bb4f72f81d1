"""Features that never fire: counting them, and giving them a new start."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .autoencoder import SparseAutoencoder


class Silence:
    """For how many rows each feature has been silent."""

    def __init__(self, like: Float[Tensor, "... feature d_out"]) -> None:
        self.rows = torch.zeros(like.shape[:-1], dtype=torch.int64, device=like.device)

    def see(self, fired: Int64[Tensor, "... feature"], rows: int) -> None:
        """Count a batch: how often each feature fired in so many rows."""
        self.rows += rows
        self.rows[fired > 0] = 0

    def longer_than(self, rows: int) -> Bool[Tensor, "... feature"]:
        """Which features have been silent for at least `rows` rows."""
        return self.rows >= rows


@torch.no_grad()
def resample(
    sae: SparseAutoencoder,
    dead: Bool[Tensor, "... feature"],
    x: Float[Tensor, "... position d_in"],
    y: Float[Tensor, "... position d_out"],
    optimizer: torch.optim.Optimizer,
    generators: Sequence[torch.Generator],
) -> None:
    """Point dead features at inputs that the SAE reconstructs badly (Bricken et al. 2023).

    Inputs are drawn with probability proportional to their squared loss. The decoder row becomes
    the unit vector of the input's error; the encoder column the unit vector of the same (in a
    transcoder of the input itself) at 0.2 times the mean norm of the living, the offsets 0; the
    moments of the optimiser for these weights are reset.
    """
    error = y - sae.reconstruct(x)
    seen = sae.centred(x) if sae.transcodes else error
    if sae.members is None:
        _resample(sae, (), dead, seen, error, optimizer, generators[0])
        return
    for member in range(sae.members):
        of_member = seen[member] if seen.dim() == 3 else seen
        generator = generators[member]
        _resample(sae, (member,), dead[member], of_member, error[member], optimizer, generator)


def _resample(
    sae: SparseAutoencoder,
    member: tuple[int, ...],
    dead: Tensor,
    seen: Tensor,
    error: Tensor,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
) -> None:
    where = dead.nonzero()[:, 0]
    if not len(where):
        return
    weight = error.float().pow(2).sum(1).pow(2).cpu()
    drawn = torch.multinomial(weight, len(where), replacement=True, generator=generator)
    drawn = drawn.to(error.device)
    alive = ~dead
    encoder = sae.W_enc[member]
    size = encoder[:, alive].norm(dim=0).mean() if bool(alive.any()) else torch.ones(())
    rows, columns = (*member, where), (*member, slice(None), where)
    sae.W_dec[rows] = _unit(error[drawn])
    sae.W_enc[columns] = 0.2 * size * _unit(seen[drawn]).T
    places = [(sae.W_dec, rows), (sae.W_enc, columns)]
    for name in sae.offsets:
        offset = getattr(sae, name)
        offset[rows] = 0
        places.append((offset, rows))
    for weight, place in places:
        for moment in optimizer.state[weight].values() if weight in optimizer.state else ():
            if moment.shape == weight.shape:
                moment[place] = 0


def _unit(rows: Tensor) -> Tensor:
    return rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
