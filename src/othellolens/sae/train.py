"""One training loop for every architecture: a generator that yields a `SAEStep` an update."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import nn

from ..activations.rows import Rows, endless_rows
from ..activations.shuffle import shuffled
from ..errors import InputError
from ..gpt.model import GPT
from ..gpt.sites import Site
from ..othello.games import Games
from .autoencoder import Recipe, SparseAutoencoder
from .dead import Silence, resample


@dataclass(frozen=True)
class SAEPlan:
    """How long and how to train."""

    rows: int = 4_000_000
    """Activation vectors to train on; the games are played through again where they are fewer."""
    batch: int = 1024
    """Rows a step."""
    buffer: int = 262_144
    """Rows kept in the shuffling buffer."""
    lr: float | None = None
    """Peak learning rate of Adam; by default 7e-4 / sqrt(width / 2^14)."""
    warmup: float = 0.05
    """Share of the steps in which the learning rate rises."""
    decay: float = 0.2
    """Share of the steps at the end in which it falls linearly to 0."""
    clip: float = 1.0
    """Largest gradient norm."""
    dead_after: int | None = None
    """Rows of silence after which a feature counts as dead; by default 1/50 of all rows."""
    resample_until: float = 0.5
    """Share of the steps in which dead features are resampled, where the architecture needs it."""

    @property
    def steps(self) -> int:
        """Optimiser steps in all."""
        return max(1, self.rows // self.batch)

    @property
    def patience(self) -> int:
        """Rows of silence after which a feature counts as dead."""
        return self.dead_after if self.dead_after is not None else max(1, self.rows // 50)

    def rate(self, step: int, width: int) -> float:
        """Learning rate of a step, counted from 0."""
        peak = self.lr if self.lr is not None else 7e-4 / (width / 2**14) ** 0.5
        rise = (step + 1) / max(1.0, self.warmup * self.steps)
        fall = (self.steps - step) / max(1.0, self.decay * self.steps)
        return peak * min(1.0, rise, fall)


class SAEStep(NamedTuple):
    """One step of training, as it is reported."""

    step: int
    rows: int
    reconstruction: float
    """Squared error a position, for inputs scaled to mean norm sqrt(d_in)."""
    sparsity: float
    revival: float
    fvu: float
    """Fraction of variance unexplained, of this batch."""
    l0: float
    """Mean number of active features."""
    dead: int
    """Features silent for longer than the plan's patience."""


def train_sae(
    recipe: Recipe,
    model: GPT,
    site: Site,
    games: Games,
    *,
    plan: SAEPlan | None = None,
    seed: int = 0,
    watch: Callable[[SAEStep], object] = lambda _: None,
) -> SparseAutoencoder:
    """Train an SAE on what passes a site of a model, without ever looking at a board.

    Args:
        recipe: the architecture with its hyper-parameters, e.g. `BatchTopK(width=1024, k=32)`.
        model: the player.
        site: where to read it.
        games: what to play through it.
        plan: how long and how.
        seed: of the weights and of the mixing.
        watch: called with every step.

    Returns:
        The SAE in eval mode, for raw activations: their scale is folded into its weights.
    """
    plan = plan or SAEPlan()
    if not len(games):
        raise InputError("there are no games to train on")
    stream = endless_rows(model, site, games)
    mixed = shuffled(stream, size=plan.buffer, batch=plan.batch, seed=seed)
    trainer = SAETrainer(recipe, model.width(site), plan, seed=seed)
    for step in trainer.steps(mixed):
        watch(step)
    sae = trainer.finish()
    sae.metadata = {
        "model_name": model.name,
        "hook_name": site.hook_name,
        "context_size": model.cfg.n_ctx,
        "games": games.origin,
        "plan": asdict(plan),
        "seed": seed,
    }
    return sae


class SAETrainer:
    """A training under way, on any stream of rows."""

    def __init__(self, recipe: Recipe, d_in: int, plan: SAEPlan, *, seed: int) -> None:
        self.plan, self.seed = plan, seed
        self.sae = recipe.build(d_in, seed=seed)
        self.optimizer = torch.optim.Adam(
            self.sae.parameters(), lr=0.0, betas=(0.9, 0.999), fused=True
        )
        self.generator = torch.Generator().manual_seed(seed)
        self.silence = Silence(recipe.width, self.sae.W_dec.device)
        self.scale = 0.0
        self.last: list[torch.Tensor] = []

    def steps(self, rows: Iterator[Rows]) -> Iterator[SAEStep]:
        """Train to the end of the plan or of the stream, one `SAEStep` an update."""
        self.sae.train()
        for step, batch in zip(range(self.plan.steps), rows, strict=False):
            if not self.scale:
                self._settle(batch)
            x = batch.x * self.scale
            # The newest few batches are kept: calibration wants rows that were just trained on.
            self.last = [*self.last[-7:], x]
            yield self._update(step, x)

    def finish(self) -> SparseAutoencoder:
        """Calibrate, fold the scale of the inputs into the weights, and hand the SAE over."""
        self.sae.calibrate(torch.cat(self.last))
        self.sae.unscale(self.scale)
        return self.sae.eval()

    def _settle(self, first: Rows) -> None:
        """Scale inputs to mean norm sqrt(d_in), and start b_dec at their mean."""
        self.scale = float(first.x.shape[1] ** 0.5 / first.x.norm(dim=1).mean())
        with torch.no_grad():
            self.sae.b_dec.copy_(first.x.mean(0) * self.scale)

    def _update(self, step: int, x: torch.Tensor) -> SAEStep:
        plan, sae = self.plan, self.sae
        dead = self.silence.longer_than(plan.patience)
        loss, features = sae.loss(x, dead)
        (loss.reconstruction + loss.sparsity + loss.revival).backward()
        sae.remove_parallel_gradient()
        nn.utils.clip_grad_norm_(sae.parameters(), plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate(step, len(sae.W_dec))
        self.optimizer.step()
        self.optimizer.zero_grad()
        sae.normalize_decoder()
        self.silence.see(features)
        self._revive(step, x)
        spread = (x - x.mean(0)).pow(2).sum(1).mean()
        return SAEStep(
            step + 1,
            (step + 1) * plan.batch,
            loss.reconstruction.item(),
            loss.sparsity.item(),
            loss.revival.item(),
            (loss.reconstruction / spread).item(),
            (features > 0).sum(1).float().mean().item(),
            int(dead.sum()),
        )

    def _revive(self, step: int, x: torch.Tensor) -> None:
        plan = self.plan
        every = max(1, plan.patience // plan.batch)
        if (
            self.sae.resampled
            and (step + 1) % every == 0
            and step < plan.resample_until * plan.steps
        ):
            dead = self.silence.longer_than(plan.patience)
            resample(self.sae, dead, x, self.optimizer, self.generator)
            self.silence.rows[dead] = 0
