"""Fitting probes: many at once, at several sites, while the games run through the model once."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from torch import Tensor

from ..activations.crowding import mixable
from ..activations.mixing import Mixer
from ..activations.sources import Played
from ..concepts import ConceptSet, family
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.games import Games
from .board import BoardProbe
from .facts import FactProbe
from .labels import BoardLabels, Convention, FactLabels, Labels, Plies
from .least_squares import LeastSquares, begin
from .linear import LinearProbe
from .mlp import MLPProbe
from .probe import UNKNOWN, Probe

Kind: TypeAlias = Literal["linear", "mlp"]


@dataclass(frozen=True)
class ProbePlan:
    """How long and how to fit."""

    rows: int = 2_000_000
    """Activation vectors to fit on."""
    batch: int = 2048
    """Rows a step."""
    window: int = 4096
    """Games whose rows are mixed with one another; at least twice as many as a batch has rows."""
    lr: float = 1e-2
    """Peak learning rate of AdamW; it falls linearly to 0. That of an MLP is three times it."""
    weight_decay: float = 1e-2
    """Decoupled weight decay."""
    start: float = 0.2
    """Share of the rows from which least squares makes the first guess of a linear probe."""

    def __post_init__(self) -> None:
        if self.rows < 1 or self.batch < 1 or not 0 <= self.start < 1:
            raise InputError("a probe needs rows and a batch of at least 1, and a start below 1")
        if not self.lr >= 0 or not self.weight_decay >= 0:
            raise InputError(
                f"lr and weight_decay of a probe are 0 or more, not {self.lr}, {self.weight_decay}"
            )

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return max(1, self.rows // self.batch)


class ProbeStep(NamedTuple):
    """One step of fitting, as it is reported; means over the probes that are fitted together."""

    step: int
    loss: float
    """Cross-entropy, nats a square or fact."""
    accuracy: float
    """Share of squares or facts that the batch's likeliest label gets right."""


@dataclass(frozen=True)
class ProbeTarget:
    """One probe to fit: where, of what kind, and what it is told."""

    site: Site
    kind: Kind = "linear"
    labels: Convention = "rules"
    back: int = 0
    """Plies before the position whose truth it is told; 0: the position itself."""
    plies: Plies = "all"
    """Of which plies it is told; at the others it learns nothing."""
    families: tuple[str, ...] = ()
    """Families of concepts, for a logistic regression each; none: the board."""


def fit_probe(
    model: GPT,
    site: Site,
    games: Games,
    *,
    kind: Kind = "linear",
    plan: ProbePlan | None = None,
    seed: int = 0,
    labels: Convention = "rules",
    back: int = 0,
    watch: Callable[[ProbeStep], object] = lambda _: None,
) -> BoardProbe:
    """Fit a mine / theirs / empty probe on what passes a site of a model.

    Args:
        model: the player.
        site: where to read it; a single head's output is `Site("z", layer, head)`.
        games: what to play through it.
        kind: "linear", or "mlp" with one hidden layer of 128.
        plan: how long and how.
        seed: of the mixing, of an MLP's first weights and of shuffled labels.
        labels: see `Convention`.
        back: see `ProbeTarget`.
        watch: called with every step.

    Raises:
        InputError: there are no games, or the model has no such site.
    """
    target = ProbeTarget(site, kind, labels, back)
    (found,) = fit_probes(model, [target], games, plan=plan, seed=seed, watch=watch)
    return cast(BoardProbe, found)


def fit_probes(
    model: GPT,
    targets: Sequence[ProbeTarget],
    games: Games,
    *,
    plan: ProbePlan | None = None,
    seed: int = 0,
    watch: Callable[[ProbeStep], object] = lambda _: None,
) -> list[Probe]:
    """Fit several probes on the same batches; each comes out as if it were fitted alone.

    Arguments as of `fit_probe`. Linear probes begin where least squares on the first rows leads:
    on `mini` they are then as right after 200,000 rows as without it after 500,000.

    Returns:
        One probe for each target, in their order: `LinearProbe`, `MLPProbe` or `FactProbe`.
    """
    plan = plan or ProbePlan()
    if not targets:
        raise InputError("there is no probe to fit: name at least one target")
    if not len(games):
        raise InputError("there are no games to fit on")
    learners = [_Learner(model, target, games, plan, seed) for target in targets]
    sites = tuple(dict.fromkeys(target.site for target in targets))
    source = Played(model, sites, games, window=mixable(plan.window, plan.batch))
    batches = Mixer(source, batch=plan.batch, seed=seed).batches()
    for step, batch in zip(range(plan.steps), batches, strict=False):
        done = [one.learn(batch.at, batch.x[one.target.site], step) for one in learners]
        loss, right = (sum(values) / len(done) for values in zip(*done, strict=True))
        watch(ProbeStep(step + 1, loss, right))
    batches.close()
    for one in learners:
        one.probe.metadata = {
            "model_name": model.name,
            "hook_name": one.target.site.hook_name,
            "site": str(one.target.site),
            "games": games.origin,
            "plan": asdict(plan),
            "seed": seed,
            "labels": one.target.labels,
            "back": one.target.back,
            "plies": one.target.plies,
        }
    return [one.probe.eval() for one in learners]


class _Learner:
    """A probe that is being fitted."""

    def __init__(
        self, model: GPT, target: ProbeTarget, games: Games, plan: ProbePlan, seed: int
    ) -> None:
        self.target, self._plan = target, plan
        told: dict[str, Any] = {
            "labels": target.labels,
            "back": target.back,
            "plies": target.plies,
            "seed": seed,
        }
        width, lr = model.width(target.site), plan.lr
        self.labels: Labels
        self.probe: Probe
        if target.families:
            if target.kind != "linear":
                raise InputError("probes of concepts are linear: an mlp probe reads boards")
            concepts = sum((family(name) for name in target.families), ConceptSet(()))
            self.labels = FactLabels(games, concepts, **told)
            self.probe = FactProbe(width, concepts)
        else:
            self.labels = BoardLabels(games, **told)
            mlp = target.kind == "mlp"
            self.probe = MLPProbe(width, seed=seed) if mlp else LinearProbe(width)
            lr = 3 * lr if mlp else lr
        self.probe = self.probe.to(model.device)
        self._squares = None if target.kind == "mlp" else LeastSquares()
        self._starting = int(plan.start * plan.steps)
        self._lr, decay = lr, plan.weight_decay
        self._optimizer = torch.optim.AdamW(
            self.probe.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=decay
        )

    def learn(self, at: Tensor, x: Tensor, step: int) -> tuple[float, float]:
        """One step; the loss and the share that was right before it."""
        if not step:
            self.probe.settle(x)
        truth = self.labels.of(at).to(x.device)
        if self._squares is not None and isinstance(self.probe, LinearProbe | FactProbe):
            if step < self._starting:
                return self._gather(self.probe, self._squares, x, truth)
            if self._squares.rows:
                begin(self.probe, self._squares, x, truth)
            self._squares = None
        logits = self.probe.logits(x)
        loss = self.probe.loss(logits, truth)
        loss.backward()
        for group in self._optimizer.param_groups:
            group["lr"] = self._lr * (1 - step / self._plan.steps)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.item(), self._right(logits, truth)

    @torch.no_grad()
    def _gather(
        self, probe: LinearProbe | FactProbe, squares: LeastSquares, x: Tensor, truth: Tensor
    ) -> tuple[float, float]:
        known = truth[:, 0] != UNKNOWN
        squares.add(probe.standardised(x[known]), probe.one_hot(truth[known]))
        logits = probe.logits(x)
        return float(probe.loss(logits, truth)), self._right(logits, truth)

    def _right(self, logits: Tensor, truth: Tensor) -> float:
        known = truth != UNKNOWN
        right = (self.probe.guess(logits) == truth) & known
        return float(right.sum() / known.sum().clamp(min=1))
