"""The river: what it takes to set an encoder beside its floors and ceilings, in one call."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from .activations.rows import read_rows
from .encoder import ICA, PCA, Encoder, Neurons, RandomDirections
from .evaluation.scores import Scores
from .evaluation.verdict import Verdict, judge
from .gpt.legality import Legality, legality
from .gpt.model import GPT, untrained
from .gpt.sites import Site
from .lens import Lens
from .othello.games import Games
from .probes.accuracy import Accuracy, marginal_accuracy, probe_accuracy
from .probes.board import BoardProbe
from .probes.fit import ProbePlan, ProbeTarget, fit_probe, fit_probes
from .sae.autoencoder import Recipe, SparseAutoencoder
from .sae.plan import SAEPlan
from .sae.runs import train_sae

SAE_OF_UNTRAINED = "SAE of an untrained model"
Watch = Callable[[str, int, int], object]
"""Called with what is under way, how far it is, and how far it has to go."""


def quiet(what: str, done: int, total: int) -> None:
    """Watch nothing."""


@dataclass(frozen=True)
class Contest:
    """What every contender gets: the same player, the same games, the same effort."""

    model: GPT
    site: Site
    train: Games
    held: Games
    seed: int = 0
    watch: Watch = quiet


def train_contender(
    contest: Contest, recipe: Recipe, plan: SAEPlan, what: str
) -> SparseAutoencoder:
    """An SAE trained for a contest."""
    return train_sae(
        recipe,
        contest.model,
        contest.site,
        contest.train,
        plan=plan,
        seed=contest.seed,
        watch=lambda step: contest.watch(what, step.step, plan.steps),
    )


def fit_contender(contest: Contest, plan: ProbePlan, what: str) -> Encoder:
    """A probe fitted for a contest."""
    return fit_probe(
        contest.model,
        contest.site,
        contest.train,
        plan=plan,
        seed=contest.seed,
        watch=lambda step: contest.watch(what, step.step, plan.steps),
    )


class Rival(NamedTuple):
    """What stands beside an encoder; its lens is made when it is asked for."""

    name: str
    kind: str
    """"floor" or "ceiling"."""
    lens: Callable[[], Lens]


def rivals(contest: Contest, recipe: Recipe, plan: SAEPlan, probe: ProbePlan) -> Iterator[Rival]:
    """All floors and ceilings at a site.

    The probe is told the truth and is the ceiling; raw neurons, of the site and of the MLP of its
    layer, need no training and are the bar to pass. Principal and independent components and random
    directions are what any basis gives, and a model of fresh weights what the input alone gives:
    its raw neurons, and the same SAE trained on it.
    """
    model, site = contest.model, contest.site
    sample = cache(lambda: _sample(model, site, contest.train))
    blank = replace(contest, model=untrained(model, seed=contest.seed + 1))
    mlp = Site("mlp_post", site.layer)

    def of(encoder: Callable[[], Encoder], where: Contest = contest, at: Site = site) -> Lens:
        return Lens(where.model, at, encoder())

    seen = partial(fit_contender, contest, probe, "probe")
    random = partial(_directions, sample, recipe.width, contest.seed)
    floor = partial(train_contender, blank, recipe, plan, SAE_OF_UNTRAINED)
    yield Rival("linear probe (supervised)", "ceiling", partial(of, seen))
    yield Rival("neurons", "ceiling", partial(of, Neurons))
    if site != mlp:
        yield Rival(f"MLP neurons ({mlp})", "ceiling", partial(of, Neurons, contest, mlp))
    yield Rival("PCA", "floor", partial(of, lambda: PCA(sample())))
    yield Rival("ICA", "floor", partial(of, lambda: ICA(sample(), seed=contest.seed)))
    yield Rival("random directions", "floor", partial(of, random))
    yield Rival("neurons of an untrained model", "floor", partial(of, Neurons, blank))
    yield Rival(SAE_OF_UNTRAINED, "floor", partial(of, floor, blank))


_IN_SHORT = ("linear probe (supervised)", "neurons", "PCA", "random directions", SAE_OF_UNTRAINED)


def baselines(
    contest: Contest, recipe: Recipe, plan: SAEPlan, probe: ProbePlan
) -> Iterator[tuple[str, Lens]]:
    """The floors and ceilings that stand beside one SAE, each under its name."""
    for rival in rivals(contest, recipe, plan, probe):
        if rival.name in _IN_SHORT:
            yield rival.name, rival.lens()


def judge_all(
    contest: Contest, lenses: Iterator[tuple[str, Lens]]
) -> Iterator[tuple[str, Lens, Verdict, Scores]]:
    """Bring each lens before the same judge with the same held-out games."""
    for name, lens in lenses:
        what = f"judging: {name}"
        verdict, scores = judge(lens, contest.held, watch=partial(contest.watch, what))
        yield name, lens, verdict, scores


def row(name: str, verdict: Verdict) -> dict[str, object]:
    """A verdict as a row of a table that people read."""
    return {
        "encoder": name,
        "features": verdict.features,
        "coverage": verdict.coverage,
        "boards F1": verdict.reconstruction,
        "empty": verdict.empty_coverage,
        "legal": verdict.legal_coverage,
        "L0": verdict.l0,
        "FVU": verdict.fvu,
        "CE kept": verdict.recovered,
        "KL": verdict.kl,
        "illegal": verdict.illegal,
        "dead": verdict.dead,
    }


@dataclass(frozen=True)
class ModelCard:
    """What a model can do and what a linear probe finds in it, on held-out games."""

    legality: Legality
    probe: list[Accuracy]
    """By layer, at resid_post."""
    floor: list[Accuracy]
    """The same probe on a model of the same shape with fresh weights."""
    marginals: Accuracy
    """The most frequent class of each square at each ply, without a model."""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, as they are saved."""
        judged = self.legality
        return {
            "positions": int(judged.positions.sum()),
            "illegal_strict": judged.strict_rate(),
            "illegal_lenient": judged.lenient_rate(),
            "kl_to_oracle": judged.kl(),
            "kl_to_oracle_by_ply": judged.kl_by_ply(),
            "probe_by_layer": [found.to_dict() for found in self.probe],
            "probe_of_untrained_by_layer": [found.to_dict() for found in self.floor],
            "marginals": self.marginals.to_dict(),
        }


def model_card(
    model: GPT,
    train: Games,
    held: Games,
    *,
    plan: ProbePlan | None = None,
    seed: int = 0,
    watch: Watch = quiet,
) -> ModelCard:
    """Measure a model: legality by ply, and a probe at every layer beside its baselines."""
    plan = plan or ProbePlan()

    sites = [Site("resid_post", layer) for layer in range(model.cfg.n_layers)]

    def accuracies(player: GPT, what: str) -> list[Accuracy]:
        """Of a probe at every layer, all fitted while the games run through the model once."""
        probes = fit_probes(
            player,
            [ProbeTarget(site) for site in sites],
            train,
            plan=plan,
            seed=seed,
            watch=lambda step: watch(f"probes ({what})", step.step, plan.steps),
        )
        return [
            probe_accuracy(cast(BoardProbe, probe), player, site, held)
            for probe, site in zip(probes, sites, strict=True)
        ]

    blank = untrained(model, seed=seed + 1)
    return ModelCard(
        legality(model, held),
        accuracies(model, "trained"),
        accuracies(blank, "untrained"),
        marginal_accuracy(model, train, held),
    )


def _sample(model: GPT, site: Site, games: Games) -> Float[Tensor, "position d_in"]:
    """Activations of up to 500 games: enough for a mean and principal components."""
    return torch.cat([rows.x for rows in read_rows(model, site, games[:500])])


def _directions(sample: Callable[[], Tensor], features: int, seed: int) -> Encoder:
    return RandomDirections(sample(), features=features, seed=seed)
