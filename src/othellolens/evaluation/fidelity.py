"""Fidelity: what the model loses when the reconstruction takes the place of the activation.

Every loss is a mean over positions that have a next move. `recovered` = (zero - spliced) /
(zero - clean) on the cross-entropy, the fraction of loss recovered of the SAE papers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..activations.reader import Reader
from ..activations.rows import read_rows, site_rows
from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.legality import Legality, judge_logits
from ..gpt.model import GPT
from ..gpt.sites import Hook, Site
from ..gpt.tokens import PAD, tokens
from ..lens import Lens
from ..othello.games import Games


class Damage(NamedTuple):
    """What the model does with one kind of edit at the site."""

    cross_entropy: float
    """Of the move played next, nats."""
    kl: float
    """KL(clean model || edited model), nats."""
    illegal: float
    """Top-1 illegal rate, strict."""


@dataclass(frozen=True)
class Fidelity:
    """How faithful an autoencoder is to the activations and to what the model does with them."""

    l0: float
    """Mean number of active features."""
    fvu: float
    """Fraction of variance unexplained: squared error over squared distance from the mean."""
    dead: float
    """Share of features that are never on in these games."""
    density: Float[Tensor, " feature"]
    """Share of positions at which each feature is on."""
    clean: Damage
    spliced: Damage
    zero: Damage
    """The activation set to 0."""
    mean: Damage
    """The activation set to its mean over these games."""

    @property
    def recovered(self) -> float:
        """Fraction of the cross-entropy that zero-ablation costs and the reconstruction keeps."""
        lost = self.zero.cross_entropy - self.clean.cross_entropy
        return (self.zero.cross_entropy - self.spliced.cross_entropy) / lost


def fidelity(lens: Lens, games: Games, *, batch: int = 64) -> Fidelity:
    """Measure an autoencoder on held-out games.

    Raises:
        InputError: the encoder cannot reconstruct (a probe, say).
    """
    encoder = lens.encoder
    if not isinstance(encoder, Autoencoder):
        raise InputError("this encoder has no decode: fidelity needs an SAE, PCA or neurons")
    mean, statistics = _statistics(lens, encoder, games)

    edits: dict[str, Hook | None] = {
        "clean": None,
        "spliced": None,
        "zero": _constant(lens.target, torch.zeros_like(mean)),
        "mean": _constant(lens.target, mean),
    }
    sums: dict[str, list[Any]] = {name: [] for name in edits}
    for first in range(0, len(games), batch):
        part = games[first : first + batch]
        clean: Tensor | None = None
        for name, edit in edits.items():
            logits = (
                _spliced(lens, encoder, part) if name == "spliced" else _logits(lens, part, edit)
            )
            clean = logits if clean is None else clean
            sums[name].append(_losses(logits, clean, part))
        lens.watch(len(part))
    return Fidelity(*statistics, **{name: _damage(parts) for name, parts in sums.items()})


def _constant(site: Site, value: Float[Tensor, " d_in"]) -> Hook:
    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return site.with_vectors(x, value.expand_as(site.vectors(x)))

    return put


@torch.no_grad()
def _statistics(
    lens: Lens, encoder: Autoencoder, games: Games
) -> tuple[Tensor, tuple[float, float, float, Tensor]]:
    mean = _mean(lens.model, lens, games)
    error = spread = 0.0
    positions = 0
    active: Tensor | int = 0
    for x, y in _pairs(lens, games):
        features = encoder.encode(x)
        error += float((encoder.rebuilt(x, features) - y).pow(2).sum())
        spread += float((y - mean).pow(2).sum())
        positions += len(x)
        active = active + (features > 0).sum(0)
    density = torch.as_tensor(active) / positions
    dead = float((density == 0).float().mean())
    return mean, (float(density.sum()), error / spread, dead, density)


def _pairs(lens: Lens, games: Games, *, batch: int = 64) -> Iterator[tuple[Tensor, Tensor]]:
    """What the encoder reads, and what it is to rebuild."""
    reader = Reader(lens.model, tuple(dict.fromkeys((lens.site, lens.target))), batch=batch)
    lens.encoder.eval()
    for first in range(0, len(games), batch):
        part = games[first : first + batch]
        rows = site_rows(reader, part)
        yield rows.x[lens.site], rows.x[lens.target]
        lens.watch(len(part))


def _mean(model: GPT, lens: Lens, games: Games) -> Tensor:
    total: Tensor | int = 0
    positions = 0
    for rows in read_rows(model, lens.target, games):
        total = total + rows.x.double().sum(0)
        positions += len(rows)
    if not positions:
        raise InputError("there are no games to judge on")
    return (torch.as_tensor(total) / positions).float()


@torch.no_grad()
def _logits(lens: Lens, games: Games, edit: Hook | None) -> Tensor:
    ids = tokens(games)[:, : lens.model.cfg.n_ctx].to(lens.model.device)
    hooks = [] if edit is None else [(lens.target.hook_name, edit)]
    return lens.model.run_with_hooks(ids, hooks).float().cpu()


@torch.no_grad()
def _spliced(lens: Lens, encoder: Autoencoder, games: Games) -> Tensor:
    """Logits with what the encoder makes of its site in the place of its target."""
    seen: list[Tensor] = []

    def see(x: Tensor, hook: Any) -> None:  # noqa: ARG001
        seen.append(lens.site.vectors(x))

    def put(y: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        if not seen:
            raise InputError(
                f"{lens.target} comes before {lens.site}: what is read there cannot be spliced"
            )
        rebuilt = encoder.reconstruct(seen[0].flatten(0, 1)).unflatten(0, y.shape[:2])
        return lens.target.with_vectors(y, rebuilt)

    ids = tokens(games)[:, : lens.model.cfg.n_ctx].to(lens.model.device)
    hooks = [(lens.site.hook_name, see), (lens.target.hook_name, put)]
    return lens.model.run_with_hooks(ids, hooks).float().cpu()


def _losses(logits: Tensor, clean: Tensor, games: Games) -> tuple[float, float, int, Legality]:
    """Summed cross-entropy and KL, number of positions, and legality."""
    following = tokens(games)[:, 1 : logits.shape[1] + 1]
    counted = following != PAD
    logp = logits[:, : following.shape[1]].log_softmax(-1)[counted]
    reference = clean[:, : following.shape[1]].log_softmax(-1)[counted]
    cross_entropy = F.nll_loss(logp, following[counted], reduction="sum")
    kl = F.kl_div(logp, reference, reduction="sum", log_target=True)
    return float(cross_entropy), float(kl), int(counted.sum()), judge_logits(logits, games)


def _damage(parts: list[tuple[float, float, int, Legality]]) -> Damage:
    cross_entropy, kl, positions, judged = zip(*parts, strict=True)
    return Damage(
        sum(cross_entropy) / sum(positions),
        max(0.0, sum(kl) / sum(positions)),  # below 0 by rounding alone
        reduce(add, judged).strict_rate(),
    )
