"""Selection: which activations stay. The choke point of the TopK kinds and of calibration."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


def keep_top(
    z: Float[Tensor, "... position feature"], ks: Sequence[int]
) -> Float[Tensor, "... position feature"]:
    """The k largest of every row, all else 0; one k a member."""
    if z.dim() == 3:
        return torch.stack([keep_top(part, [k]) for part, k in zip(z, ks, strict=True)])
    kept = z.topk(min(ks[0], z.shape[-1]), dim=-1, sorted=False)
    return torch.zeros_like(z).scatter(-1, kept.indices, kept.values)


def keep_largest(
    z: Float[Tensor, "... position feature"], ks: Sequence[int | float]
) -> Float[Tensor, "... position feature"]:
    """The k * positions largest entries of a whole batch, all else 0; one k a member."""
    if z.dim() == 3:
        return torch.stack([keep_largest(part, [k]) for part, k in zip(z, ks, strict=True)])
    return z * (z > largest_dropped(z.detach(), int(ks[0] * len(z))))


@torch.no_grad()
def largest_dropped(z: Float[Tensor, "position feature"], number: int) -> Float[Tensor, ""]:
    """The value above which just `number` entries of `z` lie (0 where fewer are positive)."""
    return _ranked(z, number).clamp(min=0)


@torch.no_grad()
def cut(z: Float[Tensor, "position feature"], number: int | float) -> float:
    """A value above which `number` (rounded) entries of `z` lie.

    It lies halfway between the last that stays and the first that goes: on neither's rounding
    error. Entries of minus infinity never stay; where fewer than `number` are left, all stay.
    """
    count, able = round(number), int((z > float("-inf")).sum())
    if count >= able:
        return float(z[z > float("-inf")].min()) - 1e-6 if able else 0.0
    return float((_ranked(z, count).double() + _ranked(z, count - 1).double()) / 2)


def _ranked(z: Tensor, number: int) -> Tensor:
    """The largest entry but `number`; below all where there are no more."""
    flat = z.detach().flatten()
    rank = len(flat) - number
    if rank < 1:
        return flat.min() - 1
    rank = min(rank, len(flat))
    if flat.device.type == "cpu":
        # numpy's selection is vectorised and took 14 ms where kthvalue took 35 (4 million entries).
        return torch.tensor(np.partition(flat.float().numpy(), rank - 1)[rank - 1])
    return flat.kthvalue(rank).values
