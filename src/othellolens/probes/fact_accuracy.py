"""How well fact probes do: F1 of every fact, beside what needs no activations."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ..activations.reader import Reader
from ..activations.rows import site_rows
from ..concepts import ConceptSet
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.games import Games
from .facts import FactProbe
from .labels import FactLabels
from .probe import UNKNOWN, warn_elsewhere


@dataclass(frozen=True)
class FactAccuracy:
    """Counts over positions of held-out games, fact by fact; a fact is called at p > 1/2."""

    concepts: ConceptSet
    hits: Int64[Tensor, " fact"]
    """Positions at which a fact holds and is called."""
    called: Int64[Tensor, " fact"]
    holds: Int64[Tensor, " fact"]
    positions: int

    def f1(self) -> Float[Tensor, " fact"]:
        """2 hits / (called + holds); NaN for a fact that never holds."""
        score = 2 * self.hits / (self.called + self.holds).clamp(min=1)
        return score.where(self.holds > 0, torch.nan)

    def always(self) -> Float[Tensor, " fact"]:
        """The F1 of calling a fact everywhere: 2p / (1 + p), p its base rate."""
        score = 2 * self.holds / (self.positions + self.holds)
        return score.where(self.holds > 0, torch.nan)

    def mean(self, family: str, *, always: bool = False) -> float:
        """The mean F1 of a family's facts that occur."""
        chosen = [i for i, fact in enumerate(self.concepts.concepts) if fact.family == family]
        if not chosen:
            raise InputError(f"no fact of family {family!r} was looked for")
        return float((self.always() if always else self.f1())[chosen].nanmean())


@torch.no_grad()
def fact_accuracies(
    probes: Sequence[tuple[Site, FactProbe]],
    model: GPT,
    games: Games,
    *,
    back: int = 0,
    batch: int = 64,
) -> list[FactAccuracy]:
    """Score fact probes on every position that the model can read, in one pass.

    Args:
        probes: each with the site at which it reads.
        model: the player.
        games: held-out games.
        back: plies before the position whose facts are asked for.
        batch: games at a time.
    """
    if not len(games):
        raise InputError("there are no games to test on")
    for site, probe in probes:
        warn_elsewhere(probe, site)
    reader = Reader(model, tuple(dict.fromkeys(site for site, _ in probes)), batch=batch)
    truths = {probe.concepts: FactLabels(games, probe.concepts, back=back) for _, probe in probes}
    sums = [torch.zeros(3, len(probe.concepts), dtype=torch.int64) for _, probe in probes]
    positions = 0
    for first in range(0, len(games), batch):
        rows = site_rows(reader, games[first : first + batch], first=first)
        for index, (site, probe) in enumerate(probes):
            truth = truths[probe.concepts].of(rows.at)
            known = truth[:, 0] != UNKNOWN
            guess = probe.guess(probe.logits(rows.x[site])).cpu()[known]
            truth = truth[known]
            sums[index] += torch.stack([(guess * truth).sum(0), guess.sum(0), truth.sum(0)])
        positions += int((rows.at[:, 1] >= back).sum())
    return [
        FactAccuracy(probe.concepts, total[0], total[1], total[2], positions)
        for (_, probe), total in zip(probes, sums, strict=True)
    ]
