"""Fidelity: what the model loses when the reconstruction takes the place of the activation.

Every loss is a mean over positions that have a next move. `recovered` = (zero - spliced) /
(zero - clean) on the cross-entropy, the fraction of loss recovered of the SAE papers.
"""

from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..activations.rows import read_rows
from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.legality import Legality, judge_logits
from ..gpt.model import GPT
from ..gpt.sites import Hook
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

    def splice(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return encoder.decode(encoder.encode(x.flatten(0, 1))).unflatten(0, x.shape[:2])

    edits: dict[str, Hook | None] = {
        "clean": None,
        "spliced": splice,
        "zero": _constant(torch.zeros_like(mean)),
        "mean": _constant(mean),
    }
    sums: dict[str, list[Any]] = {name: [] for name in edits}
    for first in range(0, len(games), batch):
        part = games[first : first + batch]
        clean: Tensor | None = None
        for name, edit in edits.items():
            logits = _logits(lens, part, edit)
            clean = logits if clean is None else clean
            sums[name].append(_losses(logits, clean, part))
        lens.watch(len(part))
    return Fidelity(*statistics, **{name: _damage(parts) for name, parts in sums.items()})


def _constant(value: Float[Tensor, " d_in"]) -> Hook:
    def put(x: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return value.to(x).expand_as(x)

    return put


@torch.no_grad()
def _statistics(
    lens: Lens, encoder: Autoencoder, games: Games
) -> tuple[Tensor, tuple[float, float, float, Tensor]]:
    mean = _mean(lens.model, lens, games)
    error = spread = 0.0
    positions = 0
    active: Tensor | int = 0
    for read in lens.read(games):
        error += float((encoder.decode(read.features) - read.x).pow(2).sum())
        spread += float((read.x - mean).pow(2).sum())
        positions += len(read.x)
        active = active + (read.features > 0).sum(0)
    density = torch.as_tensor(active) / positions
    dead = float((density == 0).float().mean())
    return mean, (float(density.sum()), error / spread, dead, density)


def _mean(model: GPT, lens: Lens, games: Games) -> Tensor:
    total: Tensor | int = 0
    positions = 0
    for rows in read_rows(model, lens.site, games):
        total = total + rows.x.double().sum(0)
        positions += len(rows)
    if not positions:
        raise InputError("there are no games to judge on")
    return (torch.as_tensor(total) / positions).float()


@torch.no_grad()
def _logits(lens: Lens, games: Games, edit: Hook | None) -> Tensor:
    ids = tokens(games)[:, : lens.model.cfg.n_ctx].to(lens.model.device)
    hooks = [] if edit is None else [(lens.site.hook_name, edit)]
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
