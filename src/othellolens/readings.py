"""Readings of a model's board at every layer: the probes that interventions and circuits go by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from .artifact import refuse_existing
from .errors import InputError
from .evaluation.edits import Reading
from .gpt.model import GPT
from .gpt.sites import Site
from .othello.games import Games
from .othello.squares import SQUARES
from .probes.facts import FactProbe
from .probes.files import load_probe
from .probes.fit import ProbePlan, ProbeStep, ProbeTarget, fit_probes
from .probes.linear import LinearProbe
from .probes.mlp import MLPProbe
from .probes.probe import Probe, site_of


@dataclass(frozen=True)
class Probes:
    """Probes by kind and site."""

    linear: Mapping[Site, LinearProbe]
    mlp: Mapping[Site, MLPProbe]
    flipped: Mapping[Site, FactProbe]

    def readings(self, sites: list[Site]) -> list[Reading]:
        """Linear readings of mine, theirs, empty at some sites.

        Raises:
            InputError: a site without a linear probe.
        """
        return [board_reading(site, self._at(site)) for site in sites]

    def _at(self, site: Site) -> LinearProbe:
        if site not in self.linear:
            raise InputError(f"there is no linear probe for {site}: fit one there")
        return self.linear[site]

    def save(self, folder: Path) -> None:
        """Each in a folder of its own, named by kind and site."""
        refuse_existing(folder)
        folder.mkdir(parents=True)
        for probes in (self.linear, self.mlp, self.flipped):
            for site, probe in probes.items():
                probe.save(folder / f"{probe.kind}-{site}")

    @staticmethod
    def load(folder: Path, model: GPT) -> "Probes":
        """What `save` wrote, or any folder of probe folders; those that fit the model.

        Raises:
            InputError: no probes there, or one whose width or site the model does not have.
        """
        found = [load_probe(path.parent) for path in sorted(folder.glob("*/probe.safetensors"))]
        if not found:
            raise InputError(
                f"{folder} holds no folders of probes: name the folder in which those lie that"
                " `othellolens fit-probe` made, or that `intervene --keep` wrote"
            )
        for probe in found:
            site = _site(probe)
            if probe.d_in != model.width(site):
                raise InputError(
                    f"the probe at {site} reads vectors of {probe.d_in}, but this model has"
                    f" {model.width(site)} there: it is another model's"
                )
        return _sorted(found)


def fit_all(
    model: GPT,
    sites: list[Site],
    games: Games,
    *,
    mlp: bool = True,
    flipped: bool = True,
    plan: ProbePlan | None = None,
    seed: int = 0,
    watch: Callable[[ProbeStep], object] = lambda _: None,
) -> Probes:
    """Linear probes at all sites, if asked MLP probes and probes of flipped discs; in one pass."""
    targets = [ProbeTarget(site) for site in sites]
    targets += [ProbeTarget(site, kind="mlp") for site in sites if mlp]
    targets += [ProbeTarget(site, families=("flipped",)) for site in sites if flipped]
    return _sorted(fit_probes(model, targets, games, plan=plan, seed=seed, watch=watch))


def board_reading(site: Site, probe: LinearProbe) -> Reading:
    """Logits of mine, theirs, empty as x . weight + bias, centre and scale folded in."""
    weight = (probe.W * probe.scale).detach()
    bias = probe.b.detach() - torch.einsum("d,dks->ks", probe.mean, weight)
    return Reading(site, weight.permute(1, 2, 0).contiguous(), bias)


def fact_reading(site: Site, probe: FactProbe) -> Reading:
    """The log odds of one fact of each square; 0 for squares that the probe knows nothing of.

    Raises:
        InputError: the probe has facts of no square, or several of one.
    """
    squares = [fact.square for fact in probe.concepts.concepts]
    if None in squares or len(set(squares)) < len(squares):
        raise InputError("a reading needs one fact of each square")
    weight, bias = torch.zeros(1, len(SQUARES), probe.W.shape[0]), torch.zeros(1, len(SQUARES))
    index = torch.tensor([cast(int, square) for square in squares])
    directions = probe.directions()
    weight[0, index] = directions
    bias[0, index] = probe.b.detach() - directions @ probe.mean
    return Reading(site, weight, bias)


def _site(probe: Probe) -> Site:
    site = site_of(probe)
    if site is None:
        raise InputError("a probe does not say at which site it was fitted")
    return site


def _sorted(probes: list[Probe]) -> Probes:
    return Probes(
        {_site(p): p for p in probes if isinstance(p, LinearProbe)},
        {_site(p): p for p in probes if isinstance(p, MLPProbe)},
        {
            _site(p): p
            for p in probes
            if isinstance(p, FactProbe) and p.concepts.families == ("flipped",)
        },
    )
