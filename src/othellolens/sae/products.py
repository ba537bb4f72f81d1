"""Products of SAEs of which few features are on: the choke point of the TopK kinds' speed.

Encoding is a dense product; then only the entries that stay matter: the decoder and all gradients
are sums over them (`sae.kernels`), where plain autograd multiplies whole matrices of zeros. Used on
the CPU in training; elsewhere, and for small ones, the plain products are as fast.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..othello.workers import shared_out
from . import kernels
from .autoencoder import SparseAutoencoder
from .selection import keep_largest, keep_top

_PART = 512
# Rows that are encoded at a time: what lies in 32 MiB or less is kept by the allocator.
_LEAST = 1 << 19
# Entries of a batch below which the plain products are as fast.


class Kept(NamedTuple):
    """What a batch becomes."""

    rebuilt: Float[Tensor, "... position d_out"]
    features: Float[Tensor, "... position feature"]
    """Dense, or in CSR layout where they were never laid out."""


def fired(features: Float[Tensor, "... position feature"]) -> Int64[Tensor, "... feature"]:
    """How often each feature is on, dense or in CSR layout."""
    if features.layout == torch.sparse_csr:
        return features.col_indices().long().bincount(minlength=features.shape[1])
    # Of ones and zeros in the features' own type: a comparison and a sum of yes and no take longer.
    return features.detach().clamp(min=0).sign().sum(-2, dtype=torch.float32).long()


class Entries(NamedTuple):
    """What stays of a batch; see `sae.kernels`."""

    starts: Tensor
    columns: Tensor
    values: Tensor


def kept(
    sae: SparseAutoencoder,
    x: Float[Tensor, "... position d_in"],
    ks: Sequence[int | float],
    *,
    each: bool,
) -> Kept:
    """Encode, keep the largest and rebuild.

    Args:
        sae: with W_enc, b_enc, W_dec, b_dec and W_skip.
        x: what it reads.
        ks: of each member, how many features stay a row.
        each: in every row, or on average over the batch.
    """
    if not _worth(sae, x, ks):
        z = sae.pre_activations(x).relu()
        features = keep_top(z, [int(k) for k in ks]) if each else keep_largest(z, ks)
        return Kept(sae.rebuilt(x, features), features)
    offset, bf16 = None if sae.transcodes else sae.b_dec, torch.is_autocast_enabled("cpu")
    weights = (sae.W_enc, sae.b_enc, sae.W_dec)
    out, *entries = _Sparse.apply(x, *weights, offset, ks[0], each, bf16)  # pyright: ignore
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the layout is in beta
        features = torch.sparse_csr_tensor(*entries, size=(len(x), sae.width))
    out = out + sae.b_dec
    return Kept(out if sae.W_skip is None else out + x @ sae.W_skip.mT, features)


def _worth(sae: SparseAutoencoder, x: Tensor, ks: Sequence[int | float]) -> bool:
    if not (torch.is_grad_enabled() and sae.training and x.device.type == "cpu"):
        return False
    few = max(ks) * 16 <= sae.width
    return few and sae.members is None and len(x) * sae.width >= _LEAST


class _Sparse(torch.autograd.Function):
    """Features times decoder rows, without b_dec; and the features' entries."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, offset: Tensor | None,
        k: int | float, each: bool, bf16: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        centred = x if offset is None else x - offset
        seen = _encoded(centred, W_enc, b_enc, bf16)
        entries = _top(seen, int(k)) if each else _largest(seen, int(k * len(x)))
        starts, columns, values = (part.numpy() for part in entries)
        out, decoder = torch.empty(len(x), W_dec.shape[1]), W_dec.contiguous().numpy()
        _over_rows(
            len(x),
            lambda a, b: kernels.rebuild(starts, columns, values, decoder, out.numpy(), a, b),
        )
        ctx.save_for_backward(centred, W_enc, W_dec, *entries)
        ctx.offset = offset is not None
        ctx.mark_non_differentiable(*entries)
        return out, *entries

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        centred, W_enc, W_dec, *rest = ctx.saved_tensors
        entries, grad = Entries(*rest), grads[0].float().contiguous()
        columns_grad, b_enc, decoder = _gradients(entries, centred.contiguous(), grad, W_dec)
        offset = -(W_enc @ b_enc) if ctx.offset else None
        return None, columns_grad.T.contiguous(), b_enc, decoder, offset, None, None, None


def _encoded(x: Tensor, W_enc: Tensor, b_enc: Tensor, bf16: bool) -> list[Tensor]:
    """What every feature sees, float32, in parts of rows."""
    with torch.autocast("cpu", enabled=False):
        weight = W_enc.bfloat16() if bf16 else W_enc
        parts = x.to(weight.dtype).split(_PART)
        return [(part @ weight).float().add_(b_enc) for part in parts]


def _top(seen: list[Tensor], k: int) -> Entries:
    """The k largest above 0 of every row."""
    limits = [(torch.empty(len(z), dtype=torch.int32), torch.empty(len(z), dtype=torch.int64))
              for z in seen]  # fmt: skip
    _over_parts(
        len(seen),
        lambda i: kernels.limits(_ints(seen[i]), k, limits[i][0].numpy(), limits[i][1].numpy()),
    )
    return _collected(seen, [limit for limit, _ in limits], [number for _, number in limits])


def _largest(seen: list[Tensor], number: int) -> Entries:
    """The `number` largest of the whole batch, without those that equal the first that goes."""
    limit = _limit(seen, number)
    numbers = [torch.empty(len(z), dtype=torch.int64) for z in seen]
    _over_parts(len(seen), lambda i: kernels.counted(_ints(seen[i]), limit, numbers[i].numpy()))
    limits = [torch.full((len(z),), limit, dtype=torch.int32) for z in seen]
    return _collected(seen, limits, numbers)


def _limit(seen: list[Tensor], number: int) -> int:
    """The largest entry, as an integer, of those that are not among the `number` largest."""
    # Most entries lie far below the limit of the first part, and need not be sorted into bins.
    first = _ints(seen[0]).ravel()
    rank = max(0, len(first) - 1 - number // len(seen))
    floor = max(0, int(np.partition(first, rank)[rank]) - kernels.NEAR)
    above = _above(seen, floor)
    if above[-1] <= number:
        above = _above(seen, 0)
    if above[-1] <= number:
        return 0
    # The first bin from above with which there are more than `number`: the limit lies in it.
    place = int((above > number).argmax())
    upper = len(above) - 1 - place
    inside = np.concatenate([z[(z >> 16) == upper] for z in map(_ints, seen)])
    rank = len(inside) - 1 - (number - (int(above[place - 1]) if place else 0))
    return int(np.partition(inside, rank)[rank])


def _above(seen: list[Tensor], floor: int) -> Any:
    """How many entries above the floor lie in the upper bins, one bin more at a time."""
    bins = [np.zeros(1 << 15, dtype=np.int64) for _ in seen]
    _over_parts(len(seen), lambda i: kernels.histogram(_ints(seen[i]), floor, bins[i]))
    return np.sum(bins, axis=0)[::-1].cumsum()


def _collected(seen: list[Tensor], limits: list[Tensor], numbers: list[Tensor]) -> Entries:
    starts = torch.zeros(sum(map(len, seen)) + 1, dtype=torch.int64)
    torch.cumsum(torch.cat(numbers), 0, out=starts[1:])
    columns = torch.empty(int(starts[-1]), dtype=torch.int32)
    values = torch.empty(len(columns), dtype=torch.float32)
    firsts = [0, *np.cumsum([len(z) for z in seen]).tolist()]
    as_ints = values.view(torch.int32).numpy()
    _over_parts(
        len(seen),
        lambda i: kernels.collect(
            _ints(seen[i]), limits[i].numpy(),
            starts[firsts[i] : firsts[i + 1] + 1].numpy(), columns.numpy(), as_ints,
        ),
    )  # fmt: skip
    return Entries(starts, columns, values)


def _gradients(
    entries: Entries, x: Tensor, grad: Tensor, W_dec: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of W_enc's columns [feature, d_in], of b_enc and of W_dec."""
    starts, columns, values = (part.numpy() for part in entries)
    slope, decoder = torch.empty_like(entries.values), W_dec.contiguous().numpy()
    _over_rows(
        len(x),
        lambda a, b: kernels.slopes(starts, columns, decoder, grad.numpy(), slope.numpy(), a, b),
    )
    ends = np.zeros(len(W_dec), dtype=np.int64)
    ends[1:] = np.bincount(columns, minlength=len(W_dec)).cumsum()[:-1]
    order, rows = np.empty_like(columns), np.empty_like(columns)
    kernels.by_feature(starts, columns, ends, order, rows)
    outs = torch.empty(len(W_dec), x.shape[1]), torch.empty(len(W_dec)), torch.empty_like(W_dec)
    encoder, b_enc, decoder_grad = (out.numpy() for out in outs)
    _over_rows(
        len(W_dec),
        lambda a, b: kernels.weights(
            ends, order, rows, values, slope.numpy(), x.numpy(), grad.numpy(),
            decoder_grad, encoder, b_enc, a, b,
        ),
    )  # fmt: skip
    return outs


def _ints(z: Tensor) -> Any:
    """The same bits as integers."""
    return z.view(torch.int32).numpy()


def _over_parts(parts: int, work: Callable[[int], object]) -> None:
    shared_out(lambda first, _: work(first), parts, 1)


def _over_rows(rows: int, work: Callable[[int, int], object]) -> None:
    shared_out(work, rows, max(1, rows // 16))
