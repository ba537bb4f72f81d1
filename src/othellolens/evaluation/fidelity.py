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

from ..encoder import Autoencoder
from ..errors import InputError
from ..gpt.legality import Legality, judge_logits
from ..gpt.tokens import PAD, tokens
from ..lens import Lens
from ..othello.games import Games
from .undisturbed import Put, Undisturbed


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


def fidelity(
    lens: Lens, games: Games, *, batch: int = 64, last: Undisturbed | None = None
) -> Fidelity:
    """Measure an autoencoder on held-out games.

    Args:
        lens: model, site and encoder.
        games: what to play.
        batch: games at a time.
        last: what the model does by itself, if an encoder of this site was judged before; see
            `evaluation.undisturbed`.

    Raises:
        InputError: the encoder cannot reconstruct (a probe, say); there are no games; `last` is of
            another model, site or other games.
    """
    encoder = lens.encoder
    if not isinstance(encoder, Autoencoder):
        raise InputError("this encoder has no decode: fidelity needs an SAE, PCA or neurons")
    encoder.eval()
    alone = Undisturbed(lens, games, batch=batch) if last is None else last
    if last is not None and not last.fits(lens, games):
        raise InputError("what was measured before is of another model, site or of other games")
    tally = _Tally(encoder)
    ways: dict[str, Put | None] = {
        "clean": None,
        "spliced": tally.rebuilt,
        "zero": lambda _, y: torch.zeros_like(y),
        "mean": lambda _, y: alone.mean.to(y).expand_as(y),
    }
    # All but what is spliced is the same for every encoder.
    sums: dict[str, list[Any]] = {name: [] for name in ways if name not in alone.known}
    for part in alone.parts:
        tally.there = part.there
        for name, losses in sums.items():
            put = ways[name]
            logits = part.logits if put is None else alone.logits(part, put)
            losses.append(_losses(logits, part.logits, part.games))
        lens.watch(len(part.games))
    density = torch.as_tensor(tally.active) / alone.positions
    found = {name: _damage(parts) for name, parts in sums.items()}
    spliced = found.pop("spliced")
    alone.known.update(found)
    return Fidelity(
        float(density.sum()),
        tally.error / alone.spread,
        float((density == 0).float().mean()),
        density,
        spliced=spliced,
        **alone.known,
    )


class _Tally:
    """Puts in what an encoder rebuilds, and adds up how far off it is and which features are on."""

    def __init__(self, encoder: Autoencoder) -> None:
        self.encoder = encoder
        self.there = torch.zeros(0, dtype=torch.bool)
        """Which of the rows that come next hold a move."""
        self.error = 0.0
        self.active: Tensor | int = 0

    def rebuilt(self, x: Tensor, y: Tensor) -> Tensor:
        features = self.encoder.encode(x.flatten(0, 1))
        rebuilt = self.encoder.rebuilt(x.flatten(0, 1), features)
        self.error += float((rebuilt - y.flatten(0, 1))[self.there].pow(2).sum())
        self.active = self.active + ((features > 0) & self.there[:, None]).sum(0)
        return rebuilt.unflatten(0, y.shape[:2])


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
