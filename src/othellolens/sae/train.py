"""One training loop for every architecture: a generator that yields a `SAEStep` an update."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

import torch
from jaxtyping import Float, Int32
from torch import Tensor

from ..activations.rows import Rows, not_finite
from ..errors import InputError
from ..gpt.parallel import Team
from .autoencoder import Loss, Recipe, SparseAutoencoder
from .dead import Silence, resample
from .plan import SAEPlan, SAEStep
from .products import few_on, fired
from .stack import build_stack, member
from .steering import Steering

CALIBRATION_ROWS = 65_536
"""Fresh rows on which thresholds are settled after the training."""
_PART_BYTES = 1 << 24
# Features of one part of a batch: what exceeds 32 MiB is handed back to the system after each use,
# and page-faulted in again.


class RunawayError(InputError):
    """A loss that is not finite any more."""

    def __init__(self, message: str, member: int) -> None:
        super().__init__(message)
        self.member = member


class SAETrainer:
    """SAEs in training, on any stream of rows; saves and restores to the same bits.

    Several recipes that agree in `static()` are trained as one stack, with batched products.
    """

    def __init__(
        self,
        recipes: Recipe | Sequence[Recipe],
        d_in: int,
        plan: SAEPlan,
        *,
        seed: int | Sequence[int] = 0,
        d_out: int | None = None,
        skip: bool = False,
        team: Team = Team(),  # noqa: B008
    ) -> None:
        recipes = [recipes] if isinstance(recipes, Recipe) else list(recipes)
        seeds = [seed] * len(recipes) if isinstance(seed, int) else list(seed)
        if any(recipe.static() != recipes[0].static() for recipe in recipes):
            raise InputError("these recipes cannot be trained as one stack: their shapes differ")
        self.plan, self.seeds, self.team = plan, seeds, team
        self.sae = build_stack(recipes, seeds, d_in, d_out=d_out, skip=skip).to(team.device)
        self._loss: Callable[..., tuple[Loss, Tensor]] = (
            self.sae.compiled_loss() if plan.compiled else self.sae.loss
        )
        learned = [weight for weight in self.sae.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.Adam(learned, lr=0.0, betas=(0.9, 0.999), fused=True)
        # One a member: what is drawn for it does not depend on who else is in its stack.
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.silence = Silence(self.sae.W_dec)
        self.steering = Steering(self.sae, plan.steps)
        self.scale_in = self.scale_out = 0.0
        self.done = 0

    def steps(self, rows: Iterable[Rows]) -> Iterator[SAEStep]:
        """Train one SAE to the end of the plan, one `SAEStep` an update.

        Raises:
            InputError: the stream ends early, or holds what is not finite.
        """
        stream = iter(rows)
        while self.done < self.plan.steps:
            batch = next(stream, None)
            if batch is None:
                raise InputError(
                    f"the stream ended after {self.done} of {self.plan.steps} steps"
                    f" ({self.done * self.plan.batch:,} rows): give more rows or plan fewer"
                )
            yield self.update(batch.at, batch.x)[0]

    def update(
        self,
        at: Int32[Tensor, "position 2"],
        x: Float[Tensor, "position d_in"],
        y: Float[Tensor, "position d_out"] | None = None,
    ) -> list[SAEStep]:
        """One update of every member with a batch.

        Args:
            at: where the rows are from, for what is said of bad ones.
            x: what is read.
            y: what is to be rebuilt; x itself by default.

        Returns:
            What is reported of each member.

        Raises:
            InputError: a row is not finite, or the loss is not any more.
        """
        device = self.sae.W_dec.device
        x = self._checked(at, x.to(device, torch.float32))
        y = x if y is None else self._checked(at, y.to(device, torch.float32))
        if not self.scale_in:
            self._settle(x, y)
        same = y is x
        x = x * self.scale_in
        return self._update(x, x if same else y * self.scale_out)

    def _checked(self, at: Tensor, x: Tensor) -> Tensor:
        if not bool(torch.isfinite(x.sum())) and (wrong := not_finite(at, x)):
            raise InputError(
                f"step {self.done + 1}: {wrong}; mend the activations; the last checkpoint is"
                " untouched"
            )
        return x

    def _settle(self, x: Tensor, y: Tensor) -> None:
        """Scale rows to mean norm sqrt(d), and start b_dec at the mean of what is rebuilt."""
        self.scale_in = self._scale(x)
        self.scale_out = self.scale_in if y is x else self._scale(y)
        with torch.no_grad():
            self.sae.b_dec.copy_(self._mean(y) * self.scale_out)

    def _scale(self, x: Tensor) -> float:
        return float(x.shape[1] ** 0.5 / self.team.mean(x.norm(dim=1).mean()))

    def _mean(self, y: Tensor) -> Tensor:
        return self.team.mean(y.mean(0))

    def _update(self, x: Tensor, y: Tensor) -> list[SAEStep]:
        plan, sae = self.plan, self.sae.train()
        sae.progress = self.done / plan.steps
        dead = self.silence.longer_than(plan.patience)
        loss, on = self._backward(x, y, dead)
        # What a loss settles on its rows (p-annealing its scale) is settled by the first process.
        self.team.align(sae.buffers())
        self._descend()
        rows = len(x) * self.team.size
        on = self.team.total(on)
        self.silence.see(on, rows)
        l0 = on.sum(-1) / rows
        self.steering.move(sae, l0)
        self.done += 1
        told = self._told(loss, l0, dead.sum(-1), (y - y.mean(0)).pow(2).sum(1).mean())
        self._revive(x, y)
        return told

    def _backward(self, x: Tensor, y: Tensor, dead: Tensor) -> tuple[Loss, Tensor]:
        """The loss of a batch, its gradients in place, and how often each feature is on."""
        losses: list[Tensor] = []
        on: Tensor | int = 0
        bf16 = self.plan.precision == "bf16"
        for rows in self._parts(x):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                loss, features = self._loss(x[rows], y[rows], dead)
            share = (rows.stop - rows.start) / len(x)
            (share * loss.total().sum()).backward()
            losses.append(share * torch.stack(loss).detach())
            on = on + fired(features)
        return Loss(*torch.stack(losses).sum(0)), torch.as_tensor(on)

    def _parts(self, x: Tensor) -> list[slice]:
        """A batch in parts whose features lie in memory that the allocator keeps, on a CPU."""
        sae, rows = self.sae, len(x)
        most = rows
        thin = sae.thins and not self.plan.compiled and few_on(sae, x)
        if sae.separable and x.device.type == "cpu" and not thin:
            most = max(64, _PART_BYTES // (4 * sae.width * (sae.members or 1)))
        return [slice(first, min(first + most, rows)) for first in range(0, rows, most)]

    def _descend(self) -> None:
        sae = self.sae
        weights: list[Tensor] = [w for w in sae.parameters() if w.grad is not None]
        for weight in weights:
            if self.team.size > 1 and weight.grad is not None:
                weight.grad.copy_(self.team.mean(weight.grad))
        sae.remove_parallel_gradient()
        clip_each(weights, self.plan.clip, stacked=sae.members is not None)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate(self.done, sae.width)
        self.optimizer.step()
        self.optimizer.zero_grad()
        sae.normalize_decoder()
        # What was tangent to the rows as they were is not quite so to the rows as they are.
        sae.remove_parallel(self.optimizer.state[sae.W_dec]["exp_avg"])

    def _revive(self, x: Tensor, y: Tensor) -> None:
        plan = self.plan
        every = max(1, plan.patience // plan.batch)
        due = self.sae.resampled and self.done % every == 0
        if due and self.done <= plan.resample_until * plan.steps:
            dead = self.silence.longer_than(plan.patience)
            resample(self.sae, dead, x, y, self.optimizer, self.generators)
            self.silence.rows[dead] = 0
            self.team.align([*self.sae.state_dict().values(), *self._moments()])

    def _moments(self) -> Iterator[Tensor]:
        for state in self.optimizer.state.values():
            yield from (state["exp_avg"], state["exp_avg_sq"])

    def _told(self, loss: Loss, l0: Tensor, dead: Tensor, spread: Tensor) -> list[SAEStep]:
        parts = [*loss, loss.reconstruction / spread, l0, dead, self.sae.strength]
        table = torch.stack([part.detach().float().reshape(-1) for part in parts]).T.tolist()
        self._check_finite([sum(line[:3]) for line in table])
        rows = self.done * self.plan.batch
        return [
            SAEStep(self.done, rows, error, sparsity, revival, fvu, number, int(silent), strength)
            for error, sparsity, revival, fvu, number, silent, strength in table
        ]

    def _check_finite(self, losses: Sequence[float]) -> None:
        for number, loss in enumerate(losses):
            if not isfinite(loss):
                raise RunawayError(
                    f"step {self.done}: the loss is {loss}: take a smaller lr or penalty; the last"
                    " checkpoint is untouched",
                    number,
                )

    def finish(self, fresh: Float[Tensor, "position d_in"]) -> list[SparseAutoencoder]:
        """Hand the SAEs over, in eval mode, for rows as they are.

        Args:
            fresh: rows that were not trained on, for what `calibrate` settles.

        Returns:
            Each member, the scale of rows folded into its weights.
        """
        fresh = fresh.to(self.sae.W_dec.device) * self.scale_in
        done: list[SparseAutoencoder] = []
        for number in range(self.sae.members or 1):
            sae = member(self.sae, number).eval()
            sae.calibrate(fresh)
            sae.metadata = {"l0": _number_on(sae, fresh)}
            sae.unscale(self.scale_in, self.scale_out)
            done.append(sae.cpu())
        return done

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs."""
        return {
            "done": self.done,
            "seeds": self.seeds,
            "scales": [self.scale_in, self.scale_out],
            "sae": self.sae.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "silence": self.silence.rows,
            "steering": self.steering.last,
            "generators": [generator.get_state() for generator in self.generators],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was asked for.

        Raises:
            InputError: it is of another training.
        """
        try:
            if state["seeds"] != self.seeds:
                raise InputError(f"seeds are {state['seeds']}, not {self.seeds}")
            self.sae.load_state_dict(state["sae"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.silence.rows.copy_(state["silence"])
            self.steering.last.copy_(state["steering"])
            for generator, saved in zip(self.generators, state["generators"], strict=True):
                generator.set_state(saved)
            self.scale_in, self.scale_out = state["scales"]
            self.done = state["done"]
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            first = str(error).strip().split("\n")[0]
            raise InputError(f"this is no checkpoint of this training ({first})") from None


@torch.no_grad()
def _number_on(sae: SparseAutoencoder, x: Tensor) -> float:
    return float(
        torch.cat([(sae.encode(part) > 0).sum(1) for part in x.split(4096)]).float().mean()
    )


@torch.no_grad()
def clip_each(weights: Sequence[Tensor], most: float, *, stacked: bool) -> None:
    """Scale gradients down to a norm of at most `most`, for each member of a stack by itself."""
    grads = [weight.grad for weight in weights if weight.grad is not None]
    squares = [grad.pow(2).flatten(1 if stacked else 0).sum(-1) for grad in grads]
    norm = torch.stack(squares).sum(0).sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    for grad in grads:
        grad.mul_(factor.reshape(-1, *[1] * (grad.dim() - 1)) if stacked else factor)
