"""Selection: which activations stay. The choke point of the TopK kinds and of calibration."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..othello.workers import shared_out
from . import kernels

_PART = 512
# Rows that one thread looks at in a piece.
_SAMPLE = 1 << 13
# Entries that tell where the limit lies, about.
_PIECE = 1 << 22
# The same, in entries, of samples that are not rows any more.
_MIDDLE = 1 << 15
# Of as many bins as 16 bits have values.
_LOWEST = -(1 << 31)


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
    if z.device.type != "cpu" or z.dtype != torch.float32:
        return _ranked(z, number).clamp(min=0)
    limit = limit_of(z.contiguous().split(_PART), number)
    return torch.tensor(limit, dtype=torch.int32).view(torch.float32)


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
    if flat.device.type != "cpu":
        return flat.kthvalue(min(rank, len(flat))).values
    keys = _turned(flat.float().view(torch.int32)).view(torch.float32).split(_PIECE)
    found = _select([key[None] for key in keys], max(0, number), _LOWEST)
    return _turned(torch.tensor(found, dtype=torch.int32)).view(torch.float32)


def _turned(bits: Tensor) -> Tensor:
    """Bits of floats as integers in the floats' order, and back."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


def limit_of(parts: Sequence[Tensor], number: int) -> int:
    """The largest entry of all parts, as an integer, but the `number` largest; at least 0.

    As integers, floats above 0 are in their order.
    """
    # Most entries lie far below the limit of some of them, and need not be counted.
    some = ints(parts[0]).ravel()
    some = np.sort(some[:: 1 + len(some) // _SAMPLE])
    entries = sum(part.numel() for part in parts)
    rank = max(0, len(some) - 1 - len(some) * number // max(1, entries))
    floor = max(0, int(some[rank]) - kernels.NEAR) if len(some) else 0
    found = _select(parts, number, floor)
    if found is None and floor:
        found = _select(parts, number, 0)
    return found or 0


def _select(parts: Sequence[Tensor], number: int, floor: int) -> int | None:
    """The largest entry, as an integer, but `number`; None where no more are above the floor.

    By the upper 16 bits, then by the lower ones: numpy's selection is as fast on most data, but
    took a hundred times as long where half of it was 0.
    """
    upper, number = _place(_bins(parts, kernels.histogram, floor), number)
    if upper is None:
        return None
    upper -= _MIDDLE
    lower, _ = _place(_bins(parts, kernels.inside, floor, upper), number)
    return None if lower is None else (upper << 16) + lower


def _bins(parts: Sequence[Tensor], kernel: Callable[..., object], *how: int) -> Any:
    bins = [np.zeros(2 * _MIDDLE, dtype=np.int64) for _ in parts]
    over_parts(len(parts), lambda i: kernel(ints(parts[i]), *how, bins[i]))
    return np.sum(bins, axis=0)


def _place(bins: Any, number: int) -> tuple[int | None, int]:
    """The bin that the entry lies in which `number` exceed, and how many of these in this bin."""
    above = bins[::-1].cumsum()
    if above[-1] <= number:
        return None, 0
    place = int((above > number).argmax())
    return len(bins) - 1 - place, number - (int(above[place - 1]) if place else 0)


def ints(z: Tensor) -> Any:
    """The same bits as integers."""
    return z.view(torch.int32).numpy()


def over_parts(parts: int, work: Callable[[int], object]) -> None:
    """Do a piece of work for each part, threads sharing them."""
    shared_out(lambda first, _: work(first), parts, 1)
