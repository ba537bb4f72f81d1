"""Sparse probing: how many features does it take to tell whether a concept holds?

For each concept the k features whose means differ most between the positions where it holds and
where it does not, in units of their pooled deviation, are given to a logistic regression
(Gurnee et al. 2023, https://arxiv.org/abs/2305.01610, "maximum mean difference"). Features, weights
and the threshold are settled on the even games; scores are of the odd ones. A concept that one
feature tells needs k = 1; one that is spread over many needs as many.

Each regression is solved by Newton's method, all concepts at once: with p = sigmoid(z w), the step
solves (z' diag(p (1 - p)) z / n + ridge) dw = z' (y - p) / n - ridge w, for standardised inputs and
an intercept without ridge.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ..concepts import ConceptSet
from ..errors import InputError
from ..lens import Reads
from ..othello.games import Games
from .counts import CHOOSE, SCORE

SIZES = (1, 2, 4, 8, 16)
"""Numbers of features that are tried, besides all of them."""
ROWS = 20_000
"""Positions of each half that are used, at most."""
_RIDGE = 1e-4
_STEPS = 25
_BYTES = 1 << 28
# Of the inputs of as many concepts as are fitted at a time.


@dataclass(frozen=True)
class SparseProbes:
    """How well probes on few features do; the last row is of all features."""

    concepts: ConceptSet
    sizes: tuple[int, ...]
    """Numbers of features; the last is all of them."""
    f1: Float[Tensor, "size concept"]
    accuracy: Float[Tensor, "size concept"]
    auroc: Float[Tensor, "size concept"]
    loss: Float[Tensor, "size concept"]
    """Mean log-loss, nats."""
    features: Int64[Tensor, "rank concept"]
    """The features of each concept, the most telling one first, as many as the largest size."""
    exists: Bool[Tensor, " concept"]
    """Concepts that are true somewhere and false somewhere in both halves."""

    def mean(self, *families: str, measure: str = "f1") -> Float[Tensor, " size"]:
        """Mean over the concepts of some families (of all, by default) that exist."""
        named = [not families or c.family in families for c in self.concepts.concepts]
        where = torch.tensor(named) & self.exists
        if not bool(where.any()):
            raise InputError(f"no concept of {', '.join(families)} was probed")
        values: Tensor = getattr(self, measure)
        return values[:, where].mean(1)

    def needed(self, share: float = 0.95) -> Int64[Tensor, " concept"]:
        """The least size whose F1 reaches that share of the F1 of the probe on all features."""
        enough = self.f1 >= share * self.f1[-1]
        first = enough.long().argmax(0)
        return torch.tensor(self.sizes)[first]


def sparse_probes(
    reads: Reads,
    games: Games,
    concepts: ConceptSet,
    *,
    sizes: tuple[int, ...] = SIZES,
    rows: int = ROWS,
    seed: int = 0,
) -> SparseProbes:
    """Fit logistic regressions on 1, 2, 4, ... features for each concept.

    Memory: 4 bytes a feature of 2 x rows positions, and a quarter of a GiB.

    Args:
        reads: a lens, or anything else that gives boards and features of the same rows.
        games: held-out games; even ones fit, odd ones are scored.
        concepts: what to tell.
        sizes: numbers of features, ascending; those above the number of features are left out.
        rows: positions of each half, drawn at random.
        seed: of the draw.

    Raises:
        InputError: there are no games, or the sizes do not ascend from 1.
    """
    if not sizes or sizes[0] < 1 or any(a >= b for a, b in zip(sizes, sizes[1:], strict=False)):
        raise InputError(f"numbers of features ascend from 1: not {sizes}")
    fit, held = (_sampled(reads, games, concepts, half, rows, seed) for half in (CHOOSE, SCORE))
    x, scored = _standard(fit.x, held.x)
    exists = _exists(fit.y) & _exists(held.y)
    order = _order(x, fit.y)
    number = x.shape[1]
    sizes = tuple(size for size in sizes if size < number)
    found: list[list[Tensor]] = []
    for size in (*sizes, number):
        chosen = order[:size] if size < number else None
        logits = _all(x, fit.y, scored) if chosen is None else _few(x, fit.y, scored, chosen)
        found.append(_scores(*logits, fit.y, held.y))
    f1, accuracy, auroc, loss = (torch.stack(column) for column in zip(*found, strict=True))
    kept = order[: max(sizes, default=1)]
    return SparseProbes(concepts, (*sizes, number), f1, accuracy, auroc, loss, kept, exists)


@dataclass(frozen=True)
class _Sample:
    x: Float[Tensor, "position feature"]
    y: Bool[Tensor, "position concept"]


def _sampled(
    reads: Reads, games: Games, concepts: ConceptSet, half: int, rows: int, seed: int
) -> _Sample:
    """Positions of one half, each kept with the same chance, `rows` of them at most."""
    readable = int((games.moves != -1).sum())
    chance = min(1.0, 2.2 * rows / max(1, readable))
    generator = torch.Generator().manual_seed(2 * seed + half)
    x: list[Tensor] = []
    y: list[Tensor] = []
    for read in reads.read(games):
        drawn = torch.rand(len(read.boards), generator=generator) < chance
        kept = drawn & (read.boards.at[:, 0] % 2 == half)
        x.append(read.features[kept].float().cpu())
        y.append(read.facts(concepts)[kept])
    if not x or not sum(map(len, x)):
        raise InputError("there are no games to judge on")
    return _Sample(torch.cat(x)[:rows], torch.cat(y)[:rows])


def _standard(fit: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Both centred and scaled by the mean and deviation of the first; silent features stay 0."""
    mean, spread = fit.mean(0), fit.std(0, correction=0)
    scale = torch.where(spread > 0, 1 / spread.clamp(min=1e-12), 0.0)
    return (fit - mean) * scale, (held - mean) * scale


def _exists(y: Bool[Tensor, "position concept"]) -> Bool[Tensor, " concept"]:
    return y.any(0) & ~y.all(0)


def _order(
    x: Float[Tensor, "position feature"], y: Bool[Tensor, "position concept"]
) -> Int64[Tensor, "feature concept"]:
    """Features by |difference of class means| / pooled deviation, the greatest first."""
    yes, number = y.float(), len(x)
    ones = yes.sum(0).clamp(min=1)
    zeros = (number - yes.sum(0)).clamp(min=1)
    total = x.sum(0)[:, None]
    with_it = x.T @ yes
    mean_one, mean_zero = with_it / ones, (total - with_it) / zeros
    # x has mean 0 and variance 1: what lies between the classes is taken off to pool within them.
    between = (ones * mean_one.pow(2) + zeros * mean_zero.pow(2)) / number
    within = (1 - between).clamp(min=1e-6).sqrt()
    return ((mean_one - mean_zero).abs() / within).argsort(0, descending=True)


def _few(
    x: Tensor, y: Tensor, held: Tensor, chosen: Int64[Tensor, "rank concept"]
) -> tuple[Tensor, Tensor]:
    """Logits [position, concept] of both samples, each concept from its own few features."""
    parts = max(1, _BYTES // (4 * len(x) * (len(chosen) + 1)))
    fitted: list[Tensor] = []
    told: list[Tensor] = []
    for first in range(0, y.shape[1], parts):
        some = chosen[:, first : first + parts]
        inputs = _with_one(x[:, some].permute(2, 0, 1))
        weights = _newton(inputs, y[:, first : first + parts].T.float())
        fitted.append((inputs @ weights[..., None])[..., 0].T)
        told.append((_with_one(held[:, some].permute(2, 0, 1)) @ weights[..., None])[..., 0].T)
    return torch.cat(fitted, 1), torch.cat(told, 1)


def _with_one(x: Float[Tensor, "*some position input"]) -> Float[Tensor, "*some position inputs"]:
    return torch.cat([x, torch.ones(*x.shape[:-1], 1)], -1)


def _newton(
    x: Float[Tensor, "concept position input"], y: Float[Tensor, "concept position"]
) -> Float[Tensor, "concept input"]:
    """Weights of ridge logistic regressions; damped where a full step does not help."""
    number = x.shape[1]
    ridge = torch.full((x.shape[2],), _RIDGE)
    ridge[-1] = 1e-9  # the intercept
    weights = torch.zeros(x.shape[0], x.shape[2])
    loss = _penalised(x, y, weights, ridge)
    for _ in range(_STEPS):
        p = (x @ weights[..., None])[..., 0].sigmoid()
        slope = (x.mT @ (y - p)[..., None])[..., 0] / number - ridge * weights
        bend = (x.mT * (p * (1 - p))[:, None, :]) @ x / number + torch.diag(ridge + 1e-7)
        step = torch.linalg.solve(bend, slope)
        moved = False
        for _ in range(6):
            tried = _penalised(x, y, weights + step, ridge)
            good = tried <= loss
            weights = torch.where(good[:, None], weights + step, weights)
            moved |= bool((good & (loss - tried > 1e-9)).any())
            loss = torch.where(good, tried, loss)
            step = torch.where(good[:, None], 0.0, step / 2)
            if bool(good.all()):
                break
        if not moved:
            break
    return weights


def _penalised(x: Tensor, y: Tensor, weights: Tensor, ridge: Tensor) -> Tensor:
    z = (x @ weights[..., None])[..., 0]
    fit = torch.nn.functional.softplus(z) - y * z
    return fit.mean(1) + 0.5 * (ridge * weights.pow(2)).sum(1)


def _all(x: Tensor, y: Tensor, held: Tensor) -> tuple[Tensor, Tensor]:
    """Logits from all features: one L-BFGS over all concepts, which do not touch each other."""
    inputs, truth = _with_one(x), y.float()
    weights = torch.zeros(inputs.shape[1], y.shape[1], requires_grad=True)
    ridge = torch.full((inputs.shape[1], 1), _RIDGE)
    ridge[-1] = 0
    optimizer = torch.optim.LBFGS(
        [weights], max_iter=100, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        z = inputs @ weights
        fit = torch.nn.functional.softplus(z) - truth * z
        loss = fit.mean(0).sum() + 0.5 * (ridge * weights.pow(2)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # pyright: ignore
    with torch.no_grad():
        return inputs @ weights, _with_one(held) @ weights


def _scores(fitted: Tensor, told: Tensor, y: Tensor, truth: Tensor) -> list[Tensor]:
    """F1, accuracy, AUROC and log-loss [concept]; the decision's bar is the best for F1 in fit."""
    bar = _best_bar(fitted, y)
    said, right = told > bar, truth.float()
    both = (said & truth).sum(0)
    f1 = 2 * both / (said.sum(0) + truth.sum(0)).clamp(min=1)
    loss = (torch.nn.functional.softplus(told) - right * told).mean(0)
    return [f1, (said == truth).float().mean(0), _auroc(told, truth), loss]


def _best_bar(
    z: Float[Tensor, "position concept"], y: Bool[Tensor, "position concept"]
) -> Float[Tensor, " concept"]:
    """The bar on z above which to say yes, best by F1; between two values that occur."""
    values, order = z.sort(0, descending=True)
    hits = y.gather(0, order).cumsum(0)
    fires = torch.arange(1, len(z) + 1)[:, None]
    f1 = 2 * hits / (fires + y.sum(0)).clamp(min=1)
    last = torch.cat([values[:-1] > values[1:], torch.ones(1, z.shape[1], dtype=torch.bool)])
    top = torch.where(last, f1, -1.0).argmax(0)
    below = torch.cat([values, values[-1:] - 1]).gather(0, top[None] + 1)[0]
    return (values.gather(0, top[None])[0] + below) / 2


def _auroc(z: Float[Tensor, "position concept"], y: Bool[Tensor, "position concept"]) -> Tensor:
    """Chance that a position where it holds is above one where it does not, ties half."""
    out = torch.full((z.shape[1],), float("nan"))
    for concept in range(z.shape[1]):
        yes, no = z[y[:, concept], concept], z[~y[:, concept], concept].sort().values
        if len(yes) and len(no):
            below = torch.searchsorted(no, yes) + torch.searchsorted(no, yes, right=True)
            out[concept] = below.double().mean() / 2 / len(no)
    return out
