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
from .selection import ints, keep_largest, keep_top, limit_of, over_parts

_PART = 512
# Rows that are encoded at a time: what lies in 32 MiB or less is kept by the allocator.
_LEAST = 1 << 19
# Entries of a batch below which the plain products are as fast.
_MANY = 1 << 21
# The same where what stays is not known before.
_SPARSE = 16
# One entry in so many may stay: with more the plain products are as fast.
_SAMPLE = 64
# Rows that tell how many stay.


class Kept(NamedTuple):
    """What a batch becomes."""

    rebuilt: Float[Tensor, "... position d_out"]
    features: Float[Tensor, "... position feature"]
    """Dense, or in CSR layout where they were never laid out."""
    values: Tensor
    """What a penalty may be put on: the features, or in CSR layout the entries that are on."""


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
        return Kept(sae.rebuilt(x, features), features, features)
    if each:
        return _sparsely(sae, x, sae.W_enc, lambda seen: _top(seen, int(ks[0])))
    return _sparsely(sae, x, sae.W_enc, lambda seen: _largest(seen, int(ks[0] * len(x))))


def rectified(sae: SparseAutoencoder, x: Float[Tensor, "... position d_in"]) -> Kept:
    """Encode, keep what is above 0 and rebuild."""
    if few_on(sae, x):
        return _sparsely(sae, x, sae.encoder, _positive)
    features = sae.seen(x, sae.b_enc, W_enc=sae.encoder).relu()  # pyright: ignore
    return Kept(sae.rebuilt(x, features), features, features)


def few_on(sae: SparseAutoencoder, x: Float[Tensor, "... position d_in"]) -> bool:
    """Whether so few of an SAE's features are above 0 that sparse products are faster."""
    if torch.compiler.is_compiling() or not _sparse(sae, x) or len(x) * sae.width < _MANY:
        return False
    with torch.no_grad():
        some = x[:: max(1, len(x) // _SAMPLE)]
        on = (sae.centred(some) @ sae.encoder + sae.b_enc > 0).sum()  # pyright: ignore
    return int(on) * _SPARSE <= len(some) * sae.width


def _sparsely(
    sae: SparseAutoencoder, x: Tensor, W_enc: Tensor, keep: Callable[[list[Tensor]], Entries]
) -> Kept:
    offset, bf16 = None if sae.transcodes else sae.b_dec, torch.is_autocast_enabled("cpu")
    weights = (W_enc, sae.b_enc, sae.W_dec)
    out, starts, columns, values = _Sparse.apply(x, *weights, offset, keep, bf16)  # pyright: ignore
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the layout is in beta
        size = (len(x), sae.width)
        features = torch.sparse_csr_tensor(starts, columns, values.detach(), size=size)
    out = out + sae.b_dec
    return Kept(out if sae.W_skip is None else out + x @ sae.W_skip.mT, features, values)


def _worth(sae: SparseAutoencoder, x: Tensor, ks: Sequence[int | float]) -> bool:
    return _sparse(sae, x) and max(ks) * _SPARSE <= sae.width and len(x) * sae.width >= _LEAST


def _sparse(sae: SparseAutoencoder, x: Tensor) -> bool:
    learning = torch.is_grad_enabled() and sae.training
    return learning and x.device.type == "cpu" and sae.members is None


class _Sparse(torch.autograd.Function):
    """Features times decoder rows, without b_dec; and the features' entries."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, W_dec: Tensor, offset: Tensor | None,
        keep: Callable[[list[Tensor]], Entries], bf16: bool,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        centred = x if offset is None else x - offset
        entries = keep(_encoded(centred, W_enc, b_enc, bf16))
        starts, columns, values = (part.numpy() for part in entries)
        out, decoder = torch.empty(len(x), W_dec.shape[1]), W_dec.contiguous().numpy()
        _over_rows(
            len(x),
            lambda a, b: kernels.rebuild(starts, columns, values, decoder, out.numpy(), a, b),
        )
        ctx.save_for_backward(centred, W_enc, W_dec, *entries)
        ctx.offset = offset is not None
        ctx.mark_non_differentiable(*entries[:2])
        ctx.set_materialize_grads(False)
        return out, *entries

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        centred, W_enc, W_dec, *rest = ctx.saved_tensors
        entries, grad = Entries(*rest), grads[0].float().contiguous()
        found = _gradients(entries, centred.contiguous(), grad, W_dec, grads[3])
        columns_grad, b_enc, decoder = found
        offset = -(W_enc @ b_enc) if ctx.offset else None
        return None, columns_grad.T.contiguous(), b_enc, decoder, offset, None, None


def _encoded(x: Tensor, W_enc: Tensor, b_enc: Tensor, bf16: bool) -> list[Tensor]:
    """What every feature sees, float32, in parts of rows."""
    with torch.autocast("cpu", enabled=False):
        weight = W_enc.bfloat16() if bf16 else W_enc
        parts = x.to(weight.dtype).split(_PART)
        return [(part @ weight).float().add_(b_enc) for part in parts]


def _positive(seen: list[Tensor]) -> Entries:
    """All that are above 0."""
    return _collected(seen, *_all_above(seen, 0))


def _top(seen: list[Tensor], k: int) -> Entries:
    """The k largest above 0 of every row."""
    limits = [(torch.empty(len(z), dtype=torch.int32), torch.empty(len(z), dtype=torch.int64))
              for z in seen]  # fmt: skip
    over_parts(
        len(seen),
        lambda i: kernels.limits(ints(seen[i]), k, limits[i][0].numpy(), limits[i][1].numpy()),
    )
    return _collected(seen, [limit for limit, _ in limits], [number for _, number in limits])


def _largest(seen: list[Tensor], number: int) -> Entries:
    """The `number` largest of the whole batch, without those that equal the first that goes."""
    return _collected(seen, *_all_above(seen, limit_of(seen, number)))


def _all_above(seen: list[Tensor], limit: int) -> tuple[list[Tensor], list[Tensor]]:
    """One limit for all rows, and how many entries of each exceed it."""
    numbers = [torch.empty(len(z), dtype=torch.int64) for z in seen]
    over_parts(len(seen), lambda i: kernels.counted(ints(seen[i]), limit, numbers[i].numpy()))
    return [torch.full((len(z),), limit, dtype=torch.int32) for z in seen], numbers


def _collected(seen: list[Tensor], limits: list[Tensor], numbers: list[Tensor]) -> Entries:
    starts = torch.zeros(sum(map(len, seen)) + 1, dtype=torch.int64)
    torch.cumsum(torch.cat(numbers), 0, out=starts[1:])
    columns = torch.empty(int(starts[-1]), dtype=torch.int32)
    values = torch.empty(len(columns), dtype=torch.float32)
    firsts = [0, *np.cumsum([len(z) for z in seen]).tolist()]
    as_ints = values.view(torch.int32).numpy()
    over_parts(
        len(seen),
        lambda i: kernels.collect(
            ints(seen[i]), limits[i].numpy(),
            starts[firsts[i] : firsts[i + 1] + 1].numpy(), columns.numpy(), as_ints,
        ),
    )  # fmt: skip
    return Entries(starts, columns, values)


def _gradients(
    entries: Entries, x: Tensor, grad: Tensor, W_dec: Tensor, own: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Of W_enc's columns [feature, d_in], of b_enc and of W_dec.

    Args:
        entries: what stays.
        x: what was encoded.
        grad: of what was rebuilt.
        W_dec: the decoder.
        own: of the values themselves, if something was put on them.
    """
    starts, columns, values = (part.numpy() for part in entries)
    slope, decoder = torch.empty_like(entries.values), W_dec.contiguous().numpy()
    _over_rows(
        len(x),
        lambda a, b: kernels.slopes(starts, columns, decoder, grad.numpy(), slope.numpy(), a, b),
    )
    if own is not None:
        slope += own
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


def _over_rows(rows: int, work: Callable[[int, int], object]) -> None:
    shared_out(work, rows, max(1, rows // 16))
